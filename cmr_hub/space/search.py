"""The search view: one query, typed, dropped or clicked, and what is nearest to it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..columns import Side
from ..errors import CMRError
from ..gallery import Gallery
from ..registry import METHODS
from . import markup
from .catalogue import Catalogue
from .examples import example_text, typical_items
from .queries import Query, ask

MOST_HITS = 60
FIRST_HITS = 12
RUNS_AT_ONCE = 16  # a search is short, and leaves the interpreter to others during its arithmetic
QUIET = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": RUNS_AT_ONCE}

Updates = dict[Any, Any]  # component -> its new value or properties

# A click on anything that carries a query reaches Python as one event.
CLICKS = """
element.addEventListener('click', (event) => {
  const clicked = event.target.closest('[data-item], [data-text]');
  if (clicked) trigger('select', {item: clicked.dataset.item ?? null, text: clicked.dataset.text ?? null});
});
"""
# Results that are out of sight, above a clicked hit or below the controls of a phone, come into it.
SHOW_RESULTS = """
() => {
  const results = document.querySelector('#cmr-results');
  const top = results.getBoundingClientRect().top;
  if (top < 0 || top > 0.75 * window.innerHeight) results.scrollIntoView({behavior: 'smooth', block: 'start'});
}
"""


class SearchView:
    """The components of the view and what they do; to be made inside `gr.Blocks`.

    Args:
        catalogue: the galleries.
    """

    def __init__(self, catalogue: Catalogue):
        self.catalogue = catalogue
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        with gr.Row(elem_id="cmr-ask"):
            with gr.Column(scale=3, min_width=280):
                with gr.Column() as self.typing:
                    self.text = gr.Textbox(
                        label="Describe what you are looking for",
                        placeholder="A few words, then Enter",
                        submit_btn="Find",
                        max_lines=4,
                        elem_id="cmr-text",
                    )
                self.examples = gr.HTML(js_on_load=CLICKS, apply_default_css=False, elem_id="cmr-examples")
            with gr.Column(scale=1, min_width=220) as self.dropping:
                self.picture = gr.Image(
                    type="filepath",
                    sources="upload",
                    label="Search by a picture",
                    show_label=False,
                    placeholder="Drop a picture\nor click to choose one",
                    buttons=[],
                    height=186,
                    elem_id="cmr-picture",
                )
        with gr.Row(elem_id="cmr-choices"):
            self.gallery = gr.Dropdown(
                self.choices(), value=self.catalogue.default, label="Gallery", min_width=200, elem_id="cmr-gallery"
            )
            self.method = gr.Dropdown([], label="Model", min_width=140, elem_id="cmr-model")
            self.target = gr.Radio(
                [("Pictures", "image"), ("Texts", "text")],
                value="image",
                label="Show me",
                min_width=200,
                elem_id="cmr-target",
            )
            self.k = gr.Slider(
                1, MOST_HITS, value=FIRST_HITS, step=1, label="How many", min_width=200, elem_id="cmr-k"
            )
        self.side = gr.Radio(
            [("its text", "text"), ("its picture", "image")],
            label="Search from",
            visible=False,
            elem_id="cmr-side",
        )
        self.results = gr.HTML(js_on_load=CLICKS, apply_default_css=False, elem_id="cmr-results")
        self.about = gr.HTML(apply_default_css=False, elem_id="cmr-about")
        self.query = gr.State()

    def _connect(self) -> None:
        where = [self.target, self.gallery, self.method, self.k]
        shown = [self.query, self.text, self.picture, self.target, self.side, self.results]
        for event, answer, inputs in (
            (self.text.submit, self.on_text, [self.text, self.picture]),
            (self.picture.upload, self.on_picture, [self.picture]),
            (self.results.select, self.on_click, []),
            (self.examples.select, self.on_click, []),
        ):
            # Preprocessing would open an uploaded file before `cmr_hub.images` has looked at it. Where the file is,
            # Gradio checks all the same.
            event(answer, [*inputs, self.query, *where], shown, preprocess=False, **QUIET).then(
                None, js=SHOW_RESULTS, **QUIET
            )
        gr.on(
            [self.target.input, self.k.input],
            self.again,
            [self.query, *where],
            shown,
            trigger_mode="always_last",
            **QUIET,
        )
        self.side.input(self.on_side, [self.side, self.query, *where], shown, **QUIET)
        self.method.input(self.on_method, [self.query, *where], [*shown, self.k, *self._of_gallery], **QUIET)

    @property
    def _of_gallery(self) -> list[Any]:
        return [self.examples, self.about, self.typing, self.dropping]

    @property
    def page(self) -> list[Any]:
        """Everything that another gallery changes."""
        shown = [self.query, self.text, self.picture, self.target, self.side, self.results]
        return [self.gallery, self.method, self.k, *shown, *self._of_gallery]

    def choices(self) -> list[tuple[str, str]]:
        """The galleries as the picker lists them."""
        entries = [(name, self.catalogue[name]) for name in self.catalogue.names]
        return [(entry.title if entry.is_ready else f"{entry.title} – to prepare", name) for name, entry in entries]

    def open(self, name: str, k: int) -> Updates:
        """The page of a gallery: its models, its examples, and the answer to the first of them."""
        sources = self.catalogue[name].sources
        method = next(iter(sources), None)
        methods = [(METHODS[method].title, method) for method in sources]
        picker = {
            self.gallery: gr.Dropdown(self.choices(), value=name),
            self.method: gr.Dropdown(methods, value=method, visible=bool(methods)),
        }
        if method is None:
            hidden = (self.typing, self.dropping, self.target, self.k, self.side)
            return {
                **picker,
                **dict.fromkeys(hidden, gr.update(visible=False)),
                **dict.fromkeys((self.examples, self.results, self.about), ""),
                self.query: None,
            }
        try:
            gallery = self.catalogue.open(name, method)
        except CMRError as error:
            return {**picker, self.results: markup.notice(str(error))}
        query = _first_query(gallery)
        k = min(k, _most_hits(gallery))
        return {
            **picker,
            **self._capabilities(name, gallery, k),
            **self._answer(query, None, "image", name, method, k),
        }

    def _capabilities(self, name: str, gallery: Gallery, k: int) -> Updates:
        """What can be asked of a gallery by the model that it is open with."""
        processor = gallery.retriever.processor
        takes_texts, takes_images = processor.text_encoder.takes_raw, processor.image_encoder.takes_raw
        return {
            self.k: gr.Slider(maximum=_most_hits(gallery), value=k, visible=True),
            self.examples: markup.examples(gallery, typical_items(gallery), takes_texts),
            self.about: markup.about(self.catalogue[name], gallery),
            self.typing: gr.update(visible=takes_texts),
            self.dropping: gr.update(visible=takes_images),
        }

    def on_text(self, text: str, picture: dict | None, before: Query | None, *where: Any) -> Updates:
        """Enter or "Find": the text is the query; without one, the picture that is still there."""
        query = Query("text", text) if text.strip() or picture is None else Query("image", picture["path"])
        return self._answer(query, before, *where)

    def on_picture(self, picture: dict, before: Query | None, *where: Any) -> Updates:
        """A picture was dropped, chosen or pasted."""
        return self._answer(Query("image", picture["path"]), before, *where)

    def on_click(self, event: gr.EventData, before: Query | None, *where: Any) -> Updates:
        """A hit or an example was clicked."""
        query = Query("text", event.text) if event.text is not None else Query("item", event.item)
        return self._answer(query, before, *where)

    def on_side(self, side: Side, query: Query, *where: Any) -> Updates:
        """The other side of the same item."""
        return self._answer(Query("item", query.value, side), query, *where)

    def on_method(self, query: Query | None, target: Side, name: str, method: str, k: int) -> Updates:
        """The same query to another model."""
        try:
            gallery = self.catalogue.open(name, method)
        except CMRError as error:
            return {self.results: markup.notice(str(error))}
        return {**self._capabilities(name, gallery, k), **self.again(query, target, name, method, k)}

    def again(self, query: Query | None, *where: Any) -> Updates:
        """The same query, to be shown otherwise."""
        return {self.query: None} if query is None else self._answer(query, query, *where)

    def _answer(self, query: Query, before: Query | None, target: Side, name: str, method: str, k: int) -> Updates:
        """The results of a query, and controls that agree with it; in the place of results a notice, where there are
        none."""
        # A text looks for pictures and a picture for texts until told otherwise; a click keeps what is shown.
        if query.kind != "item" and (before is None or before.kind != query.kind):
            target = query.default_target
        try:
            results = markup.results(ask(self.catalogue, query, name, method, target, k))
        except CMRError as error:
            # The query that was refused is no query to repeat, and a file that is no picture none to show.
            picture = {self.picture: None} if query.kind == "image" else {}
            return {self.query: None, self.results: markup.notice(str(error)), **picture}
        side = query.side or ("text" if target == "image" else "image")
        return {
            self.query: query,
            self.text: query.value if query.kind == "text" else "",
            **({} if query.kind == "image" else {self.picture: None}),
            self.target: gr.Radio(value=target, visible=True),
            self.side: gr.Radio(value=side, visible=query.kind == "item"),
            self.results: results,
        }


def _first_query(gallery: Gallery) -> Query:
    position = typical_items(gallery)[0]
    text = example_text(gallery, position)
    takes_texts = gallery.retriever.processor.text_encoder.takes_raw
    return Query("text", text) if text and takes_texts else Query("item", gallery.ids[position])


def _most_hits(gallery: Gallery) -> int:
    """As many as an item of the gallery can find besides itself, and no more than a page can show."""
    return max(1, min(MOST_HITS, len(gallery) - 1))
