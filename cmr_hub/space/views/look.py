"""The view of where a model looks: what each of its steps weighs in an image and in a text."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from cmr_hub.errors import CMRError, InputError
from cmr_hub.methods import METHODS
from cmr_hub.retrieval.explanation import Explanation
from cmr_hub.retrieval.gallery import Gallery

from ..components import markup
from ..components.images import data_uri
from ..components.session_state import QUIET, SessionState, Updates
from ..services.catalogue import Catalogue
from ..services.examples import typical_items
from ..services.queries import MAX_TEXT, Asked, Query, open_upload
from .search import CLICKS

IMAGES = 6  # to choose from
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
MEANING = (
    "Amber is a step's largest weight; blue regions and white words have none. Weights tell what is weighed, not why: "
    "how much a score really hangs on what is looked at, <code>cmr faithfulness</code> measures. "
    "The look at an image does not depend on the text: each side is embedded by itself, or a gallery could not be "
    "searched."
)


@dataclass(frozen=True)
class Pair:
    """What is looked at.

    Attributes:
        query: whose image: an item or an upload.
        text: the text.
    """

    query: Query
    text: str


class LookView:
    """The components of the view and what they do; to be made inside `gr.Blocks`.

    Args:
        catalogue: the galleries.
        session_state: where one is.
    """

    name = "look"
    title = "Look"

    def __init__(self, catalogue: Catalogue, session_state: SessionState):
        self.catalogue, self.session_state = catalogue, session_state
        self._lay_out()
        self.page = [self.text, self.image, self.choices, self.query, self.panel]
        self._connect()

    def is_for(self, name: str, method: str) -> bool:
        """Whether a model of a gallery looks at regions and reads words, of images and texts as they are."""
        source = self.catalogue[name].sources[method]
        return METHODS[source.method].has_attention and source.takes_texts and source.takes_images

    def _lay_out(self) -> None:
        with gr.Row():
            with gr.Column(scale=3, min_width=280):
                self.text = gr.Textbox(
                    label="The text that is read",
                    placeholder="A few words, then Enter",
                    submit_btn="Look",
                    max_lines=4,
                    elem_id="cmr-look-text",
                )
                self.choices = gr.HTML(js_on_load=CLICKS, apply_default_css=False, elem_id="cmr-look-choices")
            with gr.Column(scale=1, min_width=220):
                self.image = gr.Image(
                    type="filepath",
                    sources="upload",
                    label="Look at an image of yours",
                    show_label=False,
                    placeholder="Drop an image\nor click to choose one",
                    buttons=[],
                    height=150,
                    elem_id="cmr-look-image",
                )
        self.panel = gr.HTML(apply_default_css=False, elem_id="cmr-looks")
        self.query = gr.State()

    def _connect(self) -> None:
        where = [self.session_state.gallery, self.session_state.method]
        shown = [self.text, self.image, self.query, self.panel]
        self.text.submit(self.on_text, [self.text, self.query, *where], shown, **QUIET)
        self.choices.select(self.on_click, [self.session_state.asked, *where], shown, **QUIET)
        # Unopened: see the search view.
        self.image.upload(self.on_image, [self.image, self.text, *where], shown, preprocess=False, **QUIET)

    def open(self, name: str, method: str, asked: Asked) -> Updates:
        """The image and the text of what was asked; where one of them is to be found, what is found first."""
        gallery = self.catalogue.open(name, method)
        return {
            self.choices: markup.examples(gallery, _to_choose_from(gallery, asked.query), takes_texts=False),
            **self._look(gallery, _pair_of(gallery, asked.query)),
        }

    def on_text(self, text: str, query: Query | None, *where: str) -> Updates:
        """Enter or "Look": another text for the same image."""
        return gr.skip() if query is None else self._look(self.catalogue.open(*where), Pair(query, text))

    def on_click(self, event: gr.EventData, asked: Asked | None, *where: str) -> Updates:
        """Another image: for the text that was asked, otherwise with its own."""
        gallery, query = self.catalogue.open(*where), Query("item", event.item)
        is_text = asked is not None and asked.query.kind == "text"
        return self._look(gallery, Pair(query, asked.query.value) if is_text else _pair_of(gallery, query))

    def on_image(self, image: dict[str, Any], text: str, *where: str) -> Updates:
        """An image was dropped or chosen, to be looked at with the text that is there."""
        return self._look(self.catalogue.open(*where), Pair(Query("image", image["path"]), text))

    def _look(self, gallery: Gallery, pair: Pair) -> Updates:
        """What is looked at, or in its place a notice; and controls that agree with it."""
        updates = {self.text: pair.text, self.query: pair.query}
        if pair.query.kind == "item":
            updates[self.image] = None
        try:
            panel = side_by_side(look(gallery, pair))
        except CMRError as error:
            panel = markup.notice(str(error))
        return {**updates, self.panel: panel}


def look(gallery: Gallery, pair: Pair) -> Explanation:
    """What a gallery's model looks at.

    Raises:
        InputError: the image or the text cannot be used, there is no such item, or it has no image.
    """
    if not pair.text.strip():
        raise InputError("There is no text to read: type at least one word.")
    if len(pair.text) > MAX_TEXT:
        raise InputError(
            f"The text has {len(pair.text):,} characters, more than the {MAX_TEXT:,} allowed. Shorten it."
        )
    return gallery.retriever.explain(_image_of(gallery, pair.query), pair.text)


def _image_of(gallery: Gallery, query: Query) -> Image.Image:
    if query.kind == "image":
        return open_upload(query.value)
    image = gallery.image(gallery.position(query.value))
    if image is None:
        raise InputError(f"The item {query.value!r} has no image in this gallery. Look at one of yours.")
    return image


def _pair_of(gallery: Gallery, query: Query) -> Pair:
    """An image and a text, of which a question has only one: the other one is what is found first."""
    if query.kind == "text":
        return Pair(Query("item", gallery.search(text=query.value, target="image", k=1)[0].id), query.value)
    if query.kind == "image":
        texts = gallery.search(image=open_upload(query.value), target="text", k=1)[0].texts
    else:
        texts = gallery.texts(gallery.position(query.value))
    return Pair(query, texts[0] if texts else "")


def _to_choose_from(gallery: Gallery, query: Query) -> list[int]:
    """Positions of other images: those that a text finds, otherwise typical ones."""
    if query.kind != "text":
        return typical_items(gallery, IMAGES)
    return [hit.position for hit in gallery.search(text=query.value, target="image", k=min(IMAGES, len(gallery)))]


def side_by_side(explanation: Explanation) -> str:
    """The image and the text, and beside them both again as each step weighs them.

    Words are text, shaded by their weights and followed by them for those who do not see the shades.
    """
    plain = "".join(_word(word, None, known) for word, known in zip(explanation.words, explanation.known, strict=True))
    columns = [_column("Image and text", data_uri(explanation.image), "The image", plain, "&nbsp;")]
    for step in range(explanation.steps):
        regions, weights = explanation.region_attention[step], explanation.word_attention[step]
        largest = weights.max(initial=0)
        words = "".join(
            _word(word, weight / (largest or 1), known, weight)
            for word, weight, known in zip(explanation.words, weights.tolist(), explanation.known, strict=True)
        )
        alt = f"Step {step + 1} weighs {place_in_words(regions)} of the image most, one of {regions.size} regions"
        caption = f"largest: region {regions.max():.0%}, word {largest:.0%}"
        columns.append(_column(f"Step {step + 1}", data_uri(explanation.overlay(step)), alt, words, caption))
    score = "" if explanation.score is None else f"<span>cosine <b>{explanation.score:.3f}</b></span>"
    unknown = "" if all(explanation.known) else " Words in a dashed frame are unknown to the model."
    return (
        f'<section class="cmr-looks" aria-label="What the model looks at"><p class="cmr-summary">{score}</p>'
        f'<div class="cmr-steps">{"".join(columns)}</div><p class="cmr-about">{MEANING}{unknown}</p></section>'
    )


def _column(title: str, image: str, alt: str, words: str, caption: str) -> str:
    return (
        f'<section class="cmr-step" aria-label="{title}"><h3>{title}</h3><p class="cmr-figures">{caption}</p>'
        f'<img src="{image}" alt="{escape(alt)}"><ul class="cmr-read">{words}</ul></section>'
    )


def _word(word: str, shade: float | None, known: bool, weight: float | None = None) -> str:
    """A word of the text; its shade runs from 0 to 1, the largest of the step."""
    style = "" if shade is None else f' style="--shade: {shade:.0%}" title="{weight:.1%}"'
    figure = "" if weight is None else f'<span class="cmr-unseen"> {weight:.1%}</span>'
    unknown = "" if known else '<span class="cmr-unseen"> (unknown)</span>'
    return f'<li class="{"cmr-known" if known else "cmr-unknown"}"{style}>{escape(word)}{unknown}{figure}</li>'


def place_in_words(regions: np.ndarray) -> str:
    """Where the largest of `(rows, columns)` weights lies, for those who do not see the heat map.

    Example:

    ```python
    >>> place_in_words(np.array([[0.1, 0.2], [0.3, 0.4]])), place_in_words(np.eye(3)[1:2])
    ('the bottom right', 'the middle')
    ```
    """
    (row, column), (rows, columns) = np.unravel_index(regions.argmax(), regions.shape), regions.shape
    vertical, horizontal = _third(row, rows), _third(column, columns)
    if (vertical, horizontal) == (1, 1):
        return "the middle"
    return f"the {ROWS[vertical]} {COLUMNS[horizontal]}"


def _third(position: int, count: int) -> int:
    """0, 1 or 2: which third of a side the middle of a cell lies in."""
    return int(3 * (position + 0.5) / count)
