"""The search view: one query, typed, dropped or clicked, and what is nearest to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from cmr_hub.data.columns import Modality
from cmr_hub.errors import CMRError
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.search import AUTO

from ..components import markup
from ..components.focus import focus_slider, focus_update
from ..components.items import TARGETS
from ..components.scripts import CLICKS, PERMALINK, SHOW_RESULTS
from ..components.session_state import QUIET, Updates
from ..services.examples import FIRST_HITS, MAX_HITS, most_hits, typical_items
from ..services.queries import Asked, Query, ask
from .base import GalleryView

ANY_CLASS = ""
SOURCES = {"text": "its text", "image": "its image"}


class SearchView(GalleryView):
    """One query, and what is nearest to it."""

    name = "search"
    title = "Search"

    @property
    def answered(self) -> list[Any]:
        """The components that an answer changes."""
        return [
            *(self.session_state.asked, self.text, self.image, self.target, self.modality, self.results),
            *(self.without, self.hides_chance),
        ]

    @property
    def page(self) -> list[Any]:
        """Those, and what depends on the gallery and the model."""
        return [*self.answered, self.k, self.focus, self.label, self.examples, self.about, self.typing, self.dropping]

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
                self.image = gr.Image(
                    type="filepath",
                    sources=["upload", "clipboard", "webcam"],
                    label="Search by an image",
                    show_label=False,
                    placeholder="Drop an image\nor click to choose one",
                    buttons=[],
                    height=186,
                    elem_id="cmr-image",
                )
        with gr.Row(elem_id="cmr-choices"):
            self.target = gr.Radio(
                [(title, modality) for modality, title in TARGETS.items()],
                value="image",
                label="Show me",
                min_width=200,
                elem_id="cmr-target",
            )
            self.label = gr.Dropdown([("Any class", ANY_CLASS)], value=ANY_CLASS, label="Of class", min_width=160)
            self.k = gr.Slider(1, MAX_HITS, value=FIRST_HITS, step=1, label="How many", min_width=200, elem_id="cmr-k")
            self.focus = focus_slider(elem_id="cmr-focus")
            self.without = gr.Textbox(
                label="But not",
                placeholder="What it should not be like",
                max_lines=1,
                min_width=180,
                elem_id="cmr-without",
            )
            self.hides_chance = gr.Checkbox(
                label="Hide chance finds",
                info="Scores that any query reaches",
                min_width=180,
                elem_id="cmr-hide",
            )
        self.modality = gr.Radio(
            [(title, modality) for modality, title in SOURCES.items()],
            label="Search from",
            visible=False,
            elem_id="cmr-side",
        )
        self.results = gr.HTML(js_on_load=CLICKS + PERMALINK, apply_default_css=False, elem_id="cmr-results")
        self.about = gr.HTML(apply_default_css=False, elem_id="cmr-about")

    def _connect(self) -> None:
        session_state = self.session_state
        choices = [self.target, self.label, self.k, self.focus, self.without, self.hides_chance]
        where = [*choices, session_state.gallery, session_state.method]
        for event, answer, inputs in (
            (self.text.submit, self.on_text, [self.text, self.image]),
            (self.image.input, self.on_image, [self.image]),
            (self.results.select, self.on_click, []),
            (self.examples.select, self.on_click, []),
        ):
            # Preprocessing would open an uploaded file before `utils.images` has looked at it. Where the file is,
            # Gradio checks all the same.
            event(answer, [*inputs, self.session_state.asked, *where], self.answered, preprocess=False, **QUIET).then(
                None, js=SHOW_RESULTS, **QUIET
            )
        gr.on(
            [
                *(self.target.input, self.label.input, self.k.input, self.focus.input),
                *(self.without.submit, self.hides_chance.input),
            ],
            self.again,
            [self.session_state.asked, *where],
            self.answered,
            trigger_mode="always_last",
            **QUIET,
        )
        self.modality.input(
            self.on_modality, [self.modality, self.session_state.asked, *where], self.answered, **QUIET
        )

    def open_gallery(self, name: str, method: str, asked: Asked) -> Updates:
        """The page of a gallery and one of its models: what can be asked, and the answer to what was asked."""
        gallery = self.catalogue.open(name, method)
        return {**self._capabilities(name, gallery, asked), **self._answer(asked, name, method)}

    def _capabilities(self, name: str, gallery: Gallery, asked: Asked) -> Updates:
        """What can be asked of a gallery by the model that it is open with."""
        processor = gallery.retriever.processor
        takes_texts, takes_images = processor.text_encoder.accepts_raw_input, processor.image_encoder.accepts_raw_input
        most = most_hits(gallery)
        labels = [("Any class", ANY_CLASS), *((label, label) for label in gallery.class_names)]
        return {
            # A slider needs two ends, even where there is nothing to choose.
            self.k: gr.Slider(maximum=max(most, 2), value=min(asked.k, most), visible=most > 1),
            self.label: gr.Dropdown(labels, value=asked.label or ANY_CLASS, visible=len(labels) > 2),
            self.focus: focus_update([gallery], asked),
            self.examples: markup.examples(gallery, typical_items(gallery), takes_texts),
            self.about: markup.about(self.catalogue[name], gallery),
            self.typing: gr.update(visible=takes_texts),
            self.without: gr.update(visible=takes_texts),
            self.dropping: gr.update(visible=takes_images),
        }

    def on_text(self, text: str, image: dict | None, before: Asked | None, *where: Any) -> Updates:
        """Enter or "Find": the text is the query; with the image that is still there they are one."""
        query = Query("text", text) if image is None else Query("image", image["path"]).together(text)
        return self._ask(query, before, *where)

    def on_image(self, image: dict | None, before: Asked | None, *where: Any) -> Updates:
        """An image was dropped, chosen, pasted or taken; or taken away, which asks nothing."""
        return gr.skip() if image is None else self._ask(Query("image", image["path"]), before, *where)

    def on_click(self, event: gr.EventData, before: Asked | None, *where: Any) -> Updates:
        """A hit or an example was clicked."""
        query = Query("text", event.text) if event.text is not None else Query("item", event.item)
        return self._ask(query, before, *where)

    def on_modality(self, modality: Modality, asked: Asked, *where: Any) -> Updates:
        """The other modality of the same item."""
        return self._ask(Query("item", asked.query.value, modality), asked, *where)

    def again(self, asked: Asked | None, *where: Any) -> Updates:
        """The same query, to be shown otherwise."""
        if asked is None:
            return gr.skip()
        query = replace(asked.query, more=tuple(term for term in asked.query.more if term.weight > 0))
        return self._ask(query, asked, *where)

    def _ask(
        self,
        query: Query,
        before: Asked | None,
        target: Modality,
        label: str,
        k: int,
        focus: float,
        without: str,
        hides_chance: bool,
        name: str,
        method: str,
    ) -> Updates:
        # A text looks for images and an image for texts until told otherwise; a click keeps what is shown.
        if query.kind != "item" and (before is None or _kind(before.query) != _kind(query)):
            target = query.default_target
        query = query.together(without=without or "")
        return self._answer(
            Asked(query, target, k, label or None, focus, AUTO if hides_chance else None), name, method
        )

    def _answer(self, asked: Asked, name: str, method: str) -> Updates:
        """The results of a question, and controls that agree with it; a notice where there are no results."""
        gallery, query = self.catalogue.open(name, method), asked.query
        asked = asked.of(gallery)
        if asked.target not in gallery.embeds:
            asked = replace(asked, target=next(iter(gallery.embeds)))
        try:
            results = markup.results(ask(self.catalogue, asked, name, method), self.catalogue[name], method)
        except CMRError as error:
            # The query that was refused is no query to repeat, and a file that is no image none to show.
            image = {self.image: None} if query.kind == "image" else {}
            return {self.session_state.asked: None, self.results: markup.notice(str(error)), **image}
        targets = [(title, modality) for modality, title in TARGETS.items() if modality in gallery.embeds]
        return {
            self.session_state.asked: asked,
            self.text: query.value if query.kind == "text" else query.words,
            self.without: query.without,
            self.hides_chance: asked.min_score == AUTO,
            **({} if query.kind == "image" else {self.image: None}),
            self.target: gr.Radio(targets, value=asked.target, visible=len(targets) > 1),
            self.modality: gr.Radio(value=asked.source(gallery), visible=query.kind == "item" and len(targets) > 1),
            self.results: results,
        }


def _kind(query: Query) -> str:
    """What decides which modality is shown: an image alone looks for texts, with words for images."""
    return "both" if query.kind == "image" and query.words else query.kind
