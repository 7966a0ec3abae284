"""The view of where a model looks: what each of its steps weighs in an image and in a text."""

from __future__ import annotations

from typing import Any

import gradio as gr

from cmr_hub.errors import CMRError
from cmr_hub.methods import METHODS
from cmr_hub.retrieval.gallery import Gallery

from ..components import markup
from ..components.look_markup import side_by_side
from ..components.scripts import CLICKS
from ..components.session_state import QUIET, Updates
from ..services.looking import Pair, images_to_choose, look, pair_of
from ..services.queries import Asked, Query
from .base import GalleryView


class LookView(GalleryView):
    """What each step of a model weighs in an image and in a text."""

    name = "look"
    title = "Look"

    @property
    def page(self) -> list[Any]:
        """Everything but the tab."""
        return [self.text, self.image, self.choices, self.query, self.panel]

    def is_for(self, name: str, method: str | None) -> bool:
        """Whether a model of a gallery looks at regions and reads words, of images and texts as they are."""
        if method is None:
            return False
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

    def open_gallery(self, name: str, method: str, asked: Asked) -> Updates:
        """The image and the text of what was asked; where one of them is to be found, what is found first."""
        gallery = self.catalogue.open(name, method)
        return {
            self.choices: markup.examples(gallery, images_to_choose(gallery, asked.query), takes_texts=False),
            **self._look(gallery, pair_of(gallery, asked.query)),
        }

    def on_text(self, text: str, query: Query | None, *where: str) -> Updates:
        """Enter or "Look": another text for the same image."""
        return gr.skip() if query is None else self._look(self.catalogue.open(*where), Pair(query, text))

    def on_click(self, event: gr.EventData, asked: Asked | None, *where: str) -> Updates:
        """Another image: for the text that was asked, otherwise with its own."""
        gallery, query = self.catalogue.open(*where), Query("item", event.item)
        if asked is not None and asked.query.kind == "text":
            return self._look(gallery, Pair(query, asked.query.value))
        return self._look(gallery, pair_of(gallery, query))

    def on_image(self, image: dict[str, Any] | None, text: str, *where: str) -> Updates:
        """An image was dropped or chosen, to be looked at with the text that is there."""
        return (
            gr.skip()
            if image is None
            else self._look(self.catalogue.open(*where), Pair(Query("image", image["path"]), text))
        )

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
