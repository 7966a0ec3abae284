"""The map view: a gallery's common space in two dimensions, with the question in the midst of it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np

from cmr_hub.data.columns import Modality
from cmr_hub.errors import CMRError, InputError
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.maps import GalleryMap, NeighbourMap

from ..components import map_markup, markup
from ..components.map_figure import draw
from ..components.map_scripts import MARKING, POINTING, SORTING
from ..components.preparing import TICK
from ..components.scripts import CLICKS
from ..components.session_state import QUIET, SessionState, Updates
from ..services.catalogue import Catalogue
from ..services.examples import FIRST_HITS, most_hits
from ..services.map_layouts import NOT_YET, PCA, TSNE, Job, MapLayouts, embed, fitting, map_command, position_of
from ..services.preparation import Preparations
from ..services.queries import Asked, Query, ask
from .base import GalleryView

BOTH = "both"
ABOUT = {
    PCA: "Principal components: a query lies exactly where it projects to, and distances are what is left of the real "
    "ones in two dimensions.",
    TSNE: "t-SNE keeps neighbours together, and says little about distances. It has no projection: what is asked lies "
    "at the mean of its ten nearest points, the nearer ones weighing more.",
}


class MapView(GalleryView):
    """A gallery's embeddings in two dimensions.

    Args:
        catalogue: the galleries.
        session_state: the components that all views share.
        preparations: who lays galleries out by t-SNE; one for all browser sessions.
    """

    name = "map"
    title = "Map"

    def __init__(
        self, catalogue: Catalogue, session_state: SessionState, preparations: Preparations[Job] | None = None
    ):
        self.preparations = Preparations(map_command) if preparations is None else preparations
        self.layouts = MapLayouts()
        super().__init__(catalogue, session_state)

    @property
    def page(self) -> list[Any]:
        """That it was opened; the map follows."""
        return [self.opened]

    def _lay_out(self) -> None:
        self.opened, self.drawn, self.embedded, self.seen = gr.State(0), gr.State(), gr.State(), gr.State(-1)
        self.timer = gr.Timer(TICK, active=False)
        with gr.Column(elem_id="cmr-map"):
            with gr.Row(elem_id="cmr-map-ask"):
                self.text = gr.Textbox(
                    label="Find a place for words",
                    placeholder="A few words, then Enter",
                    submit_btn="Find",
                    max_lines=2,
                    scale=3,
                    min_width=240,
                    elem_id="cmr-map-text",
                )
                self.upload = gr.UploadButton(
                    "or for an image", file_types=["image"], size="md", scale=1, min_width=140
                )
            with gr.Row(elem_id="cmr-map-choices"):
                self.layout = gr.Radio(
                    [("PCA", PCA), ("t-SNE", TSNE)], value=PCA, label="Layout", min_width=160, elem_id="cmr-map-layout"
                )
                self.modalities = gr.Radio(
                    [("Both", BOTH), ("Images", "image"), ("Texts", "text")],
                    value=BOTH,
                    label="Draw",
                    min_width=220,
                    elem_id="cmr-map-sides",
                )
            with gr.Row(visible=False, elem_id="cmr-map-prepare") as self.preparing:
                self.progress = gr.HTML(apply_default_css=False, min_width=260)
                self.prepare = gr.Button("Prepare t-SNE", variant="primary", scale=0, min_width=160)
                self.stop = gr.Button("Stop", visible=False, scale=0, min_width=160)
            with gr.Row():
                with gr.Column(scale=3, min_width=320):
                    self.plot = gr.Plot(show_label=False, container=False, elem_id="cmr-map-plot")
                with gr.Column(scale=1, min_width=240):
                    self.card = gr.HTML(js_on_load=POINTING, apply_default_css=False, elem_id="cmr-map-card")
            self.legend = gr.HTML(js_on_load=SORTING, apply_default_css=False, elem_id="cmr-map-legend")
            self.about = gr.HTML(apply_default_css=False)
            self.question = gr.HTML(js_on_load=CLICKS + MARKING, apply_default_css=False, elem_id="cmr-map-question")

    def _connect(self) -> None:
        session_state = self.session_state
        where = [session_state.gallery, session_state.method]
        marks = [self.embedded, self.text, self.card, self.question]
        panel = [self.preparing, self.progress, self.prepare, self.stop, self.timer, self.seen]
        figure = [self.plot, self.legend, self.about, self.drawn, self.layout, self.modalities, self.text, self.upload]
        shown = list(dict.fromkeys([*marks, *panel, *figure]))
        state = [self.layout, self.modalities, self.drawn, session_state.asked, *where]
        self.opened.change(self.on_open, [self.opened, *state], shown, **QUIET)
        gr.on([self.layout.input, self.modalities.input], self.show, state, shown, **QUIET)
        for event, answer, inputs in (
            (self.text.submit, self.on_text, [self.text]),
            (self.upload.upload, self.on_image, [self.upload]),
            (self.card.select, self.on_point, []),
            (self.question.select, self.on_hit, []),
        ):
            # An uploaded file is opened by `cmr_hub.utils.images` alone.
            event(
                answer,
                [*inputs, self.layout, session_state.asked, *where],
                [session_state.asked, *marks],
                preprocess=False,
                **QUIET,
            )
        pointed = [self.embedded, session_state.asked, *where]
        self.card.input(self.on_pointer, pointed, self.card, trigger_mode="always_last", **QUIET)
        self.prepare.click(self.on_prepare, where, panel, **QUIET)
        self.stop.click(self.on_stop, where, panel, **QUIET)
        self.timer.tick(self.look, [self.seen, *state], shown, **QUIET)

    def open_gallery(self, name: str, method: str, asked: Asked) -> Updates:
        """Have the map drawn. What is chosen in the view stays as it is."""
        return {self.opened: time.monotonic_ns()}

    def on_open(self, opened: int, *state: Any) -> Updates:
        """The tab was opened. A page that loads reports the first value of a state as a change; that draws nothing."""
        return self.show(*state) if opened else gr.skip()

    def show(
        self, layout: str, modalities: str, drawn: tuple | None, asked: Asked | None, name: str, method: str
    ) -> Updates:
        """The map, where it is not the one that stands there already, and on it what was asked."""
        entry = self.catalogue[name]
        layout = PCA if entry.is_own else layout
        try:
            gallery = self.catalogue.open(name, method)
            found, problem = self.layouts.find(gallery, (name, self.catalogue.source(name, method)), layout)
        except CMRError as error:
            return {self.question: markup.notice(str(error))}
        encoders, has_both = gallery.retriever.processor, len(gallery.embeds) > 1
        source = self.catalogue.source(name, method)
        drawing = (name, source, isinstance(found, NeighbourMap), modalities if has_both else BOTH)
        return {
            self.layout: gr.Radio(value=layout, visible=not entry.is_own),
            self.modalities: gr.Radio(visible=has_both),
            self.text: gr.update(visible=encoders.text_encoder.accepts_raw_input),
            self.upload: gr.update(visible=encoders.image_encoder.accepts_raw_input),
            **self._panel(name, method, problem),
            **({} if drawing == drawn else {self.drawn: drawing, **self._figure(gallery, found, drawing[-1])}),
            **({} if asked is None else self._mark(gallery, found, fitting(asked, gallery), name, method)),
        }

    def _figure(self, gallery: Gallery, found: GalleryMap, modalities: str) -> Updates:
        drawing = draw(gallery, found, [modality for modality in gallery.embeds if modalities in (BOTH, modality)])
        counted = f"{drawing.items:,} of {len(gallery):,} items, chosen by their ids, are drawn. "
        about = ABOUT[TSNE if isinstance(found, NeighbourMap) else PCA]
        return {
            self.plot: drawing.plot,
            self.legend: map_markup.legend(drawing.legend),
            self.about: map_markup.about((counted if drawing.items < len(gallery) else "") + about),
        }

    def _mark(self, gallery: Gallery, found: GalleryMap, asked: Asked, name: str, method: str) -> Updates:
        """A question and its nearest on the map; where it is refused, a notice in its place, and no mark."""
        try:
            answer = ask(self.catalogue, asked, name, method)
            embedded = embed(gallery, asked)
            star = position_of(gallery, found, asked, embedded)
        except CMRError as error:
            return {self.embedded: None, self.question: markup.notice(str(error)), self.card: map_markup.no_card(None)}
        rings = found.positions(gallery, [hit.position for hit in answer.hits], asked.target)
        return {
            self.embedded: embedded,
            self.text: gr.update(value=asked.query.value if asked.query.kind == "text" else ""),
            self.card: self._card_of(gallery, asked, embedded),
            self.question: map_markup.question(answer, star, rings),
        }

    def _card_of(self, gallery: Gallery, asked: Asked, embedded: np.ndarray) -> str:
        """The card of what was asked: of an item of the gallery its own, of anything else its code alone."""
        if asked.query.kind != "item":
            return map_markup.no_card(embedded)
        position = gallery.position(asked.query.value)
        return map_markup.item_card(gallery, position, asked.source(gallery), asked.target, embedded)

    def on_text(self, text: str, layout: str, asked: Asked | None, *where: Any) -> Updates:
        """Enter or "Find": the text is the question."""
        return self._ask(Query("text", text), layout, asked, *where)

    def on_image(self, image: dict | None, layout: str, asked: Asked | None, *where: Any) -> Updates:
        """An image was uploaded."""
        return gr.skip() if image is None else self._ask(Query("image", image["path"]), layout, asked, *where)

    def on_point(self, event: gr.EventData, layout: str, asked: Asked | None, name: str, method: str) -> Updates:
        """A point was clicked: that modality of its item is the question."""
        row, modality = _point(event, self.catalogue.open(name, method))
        item = self.catalogue.open(name, method).ids[row]
        return self._ask(Query("item", item, modality), layout, asked, name, method)

    def on_hit(self, event: gr.EventData, layout: str, asked: Asked | None, *where: Any) -> Updates:
        """One of the nearest was clicked."""
        return self._ask(Query("item", event.item), layout, asked, *where)

    def _ask(self, query: Query, layout: str, asked: Asked | None, name: str, method: str) -> Updates:
        gallery = self.catalogue.open(name, method)
        found, _ = self.layouts.find(gallery, (name, self.catalogue.source(name, method)), layout)
        if asked is None:
            asked = Asked(query, query.default_target, min(FIRST_HITS, most_hits(gallery)))
        # A text looks for images and an image for texts until told otherwise; a click keeps what is shown.
        target = asked.target if query.kind in ("item", asked.query.kind) else query.default_target
        asked = fitting(replace(asked, query=query, target=target), gallery)
        updates = self._mark(gallery, found, asked, name, method)
        is_answered = updates[self.embedded] is not None
        return {**updates, **({self.session_state.asked: asked} if is_answered else {})}

    def on_pointer(
        self, event: gr.EventData, embedded: np.ndarray | None, asked: Asked | None, name: str, method: str
    ) -> str:
        """The pointer rests on a point."""
        gallery = self.catalogue.open(name, method)
        row, modality = _point(event, gallery)
        target = modality if asked is None else fitting(asked, gallery).target
        return map_markup.item_card(gallery, row, modality, target, embedded)

    def _panel(self, name: str, method: str, problem: str) -> Updates:
        """What there is to say where a layout is missing, and how far it is. As long as it shows, it keeps watch."""
        progress = self.preparations[name, self.catalogue.source(name, method)] if problem else None
        is_active = progress is not None and progress.is_active
        return {
            self.seen: self.preparations.version,
            self.preparing: gr.update(visible=bool(problem)),
            self.progress: map_markup.preparing(problem, progress),
            self.prepare: gr.update(visible=not is_active),
            self.stop: gr.update(visible=is_active),
            self.timer: gr.Timer(active=bool(problem)),
        }

    def on_prepare(self, name: str, method: str) -> Updates:
        """The one click. Where the page offers no preparation, as of visitors' own galleries, none is started."""
        source, problem = self.catalogue.source(name, method), ""
        if not self.catalogue[name].is_own:
            _, problem = self.layouts.find(self.catalogue.open(name, method), (name, source), TSNE)
        if problem:
            self.preparations.start((name, source))
        return self._panel(name, method, problem)

    def on_stop(self, name: str, method: str) -> Updates:
        """A second thought; another visitor sees it too."""
        self.preparations.stop((name, self.catalogue.source(name, method)))
        return self._panel(name, method, NOT_YET)

    def look(self, seen: int, *state: Any) -> Updates:
        """What is new since the last look; a layout that has arrived is shown."""
        return {self.seen: seen} if self.preparations.version == seen else self.show(*state)


def _point(event: gr.EventData, gallery: Gallery) -> tuple[int, Modality]:
    """The row and the modality of the point that an event is about.

    Raises:
        InputError: there is no such point on the map of this gallery.
    """
    if not 0 <= event.row < len(gallery) or event.modality not in gallery.embeds:
        raise InputError("There is no such point on this map. Open the map again.")
    return event.row, event.modality
