"""The view that puts one question to several models, side by side, and finds questions that they disagree about."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import gradio as gr

from cmr_hub.data.columns import Modality
from cmr_hub.errors import CMRError

from ..components import markup
from ..components.compare_markup import side_by_side
from ..components.focus import focus_slider, focus_update
from ..components.items import TARGETS
from ..components.scripts import COMPARE_CLICKS
from ..components.session_state import QUIET, Updates
from ..services.disagreement import most_disputed
from ..services.examples import most_hits
from ..services.model_kinds import of_different_kinds
from ..services.queries import Answer, Asked, Query, ask
from .base import GalleryView

MAX_MODELS = 4
MAX_HITS = 20
FIRST_HITS = 6
Opened = tuple[str, str, int]  # a gallery, a model, and when the view was opened there


class CompareView(GalleryView):
    """One question put to several models.

    The model that is chosen for all views comes first; a picker of this view says which others come next to it.
    """

    name = "compare"
    title = "Compare"

    @property
    def page(self) -> list[Any]:
        """The question; the answers follow when their models are loaded."""
        return [self.opened, self.text]

    def _lay_out(self) -> None:
        with gr.Row(elem_id="cmr-compare-ask"):
            self.text = gr.Textbox(
                label="Ask all of them",
                placeholder="A few words, then Enter",
                submit_btn="Find",
                max_lines=4,
                scale=4,
                min_width=280,
                elem_id="cmr-compare-text",
            )
            self.surprise = gr.Button("Surprise me", scale=1, min_width=140, elem_id="cmr-surprise")
        with gr.Row(elem_id="cmr-compare-choices"):
            self.others = gr.Dropdown(
                [],
                value=[],
                multiselect=True,
                max_choices=MAX_MODELS - 1,
                label="Beside the chosen model",
                scale=2,
                min_width=260,
                elem_id="cmr-others",
            )
            self.target = gr.Radio(
                [(title, modality) for modality, title in TARGETS.items()],
                value="image",
                label="Show me",
                min_width=180,
            )
            self.k = gr.Slider(1, MAX_HITS, value=FIRST_HITS, step=1, label="How many of each", min_width=180)
            self.focus = focus_slider(elem_id="cmr-compare-focus")
        self.columns = gr.HTML(js_on_load=COMPARE_CLICKS, apply_default_css=False, elem_id="cmr-columns")
        self.opened = gr.State()  # gallery and model, too: their pickers may lag behind a state

    def _connect(self) -> None:
        session_state = self.session_state
        drawn = [self.text, self.surprise, self.others, self.target, self.k, self.focus, self.columns]
        shown = [session_state.asked, *drawn]
        where = [self.others, self.target, self.k, self.focus, session_state.gallery, session_state.method]
        # Models may have to be loaded first. What is asked meanwhile counts, not what the view was opened with.
        self.opened.change(self.load, [self.opened, self.others], None, **QUIET).then(
            self.show, [session_state.asked, self.opened, self.others, self.k], drawn, **QUIET
        )
        self.text.submit(self.on_text, [self.text, session_state.asked, *where], shown, **QUIET)
        self.surprise.click(self.on_surprise, [session_state.asked, *where], shown, **QUIET)
        self.columns.select(
            self.on_click, [session_state.asked, *where], [*shown, session_state.method, *session_state.going], **QUIET
        )
        gr.on(
            [self.others.input, self.target.input, self.k.input, self.focus.input],
            self.again,
            [session_state.asked, *where],
            shown,
            trigger_mode="always_last",
            **QUIET,
        )

    def open_gallery(self, name: str, method: str, asked: Asked) -> Updates:
        """Have the question put here, too. Models that are still to be loaded do not hold up the page."""
        text = asked.query.value if asked.query.kind == "text" else ""
        return {self.opened: (name, method, time.monotonic_ns()), self.text: text}

    def load(self, opened: Opened | None, others: list[str]) -> None:
        """Have the models at hand. One that cannot be loaded says so where its answer would stand."""
        if opened is None:  # a page that loads reports the first value of a state as a change
            return
        name, method, _ = opened
        for model in self._models(name, method, others):
            with suppress(CMRError):
                self.catalogue.open(name, model)

    def show(self, asked: Asked | None, opened: Opened | None, others: list[str], k: int) -> Updates:
        """What was asked in another view, put to all models here."""
        if opened is None or asked is None:
            return gr.skip()
        name, method, _ = opened
        updates = self._answer(asked, others, k, name, method)
        del updates[self.session_state.asked]  # it is asked already
        return updates

    def on_text(
        self, text: str, asked: Asked | None, others: list[str], target: Modality, k: int, focus: float, *where: str
    ) -> Updates:
        """Enter or "Find": the text is the question."""
        query = Query("text", text)
        if asked is None or asked.query.kind != "text":
            target = query.default_target
        return self._answer(_changed(asked, query, target, focus), others, k, *where)

    def on_click(
        self,
        event: gr.EventData,
        asked: Asked | None,
        others: list[str],
        target: Modality,
        k: int,
        focus: float,
        *where: str,
    ) -> Updates:
        """A hit was clicked, and is the next question; or a model, and the search goes on with it alone."""
        if event.model is not None:
            return {self.session_state.method: event.model, **self.session_state.go("search")}
        query = Query("item", event.item)
        return {**self._answer(_changed(asked, query, target, focus), others, k, *where), self.text: ""}

    def on_surprise(
        self, asked: Asked | None, others: list[str], target: Modality, k: int, focus: float, name: str, method: str
    ) -> Updates:
        """The next of the items that these models disagree about most."""
        galleries = [self.catalogue.open(name, each) for each in self._models(name, method, others)]
        disputed = most_disputed(galleries, galleries[0].other_modality(target), target)
        if not disputed:
            message = "These models find the same for every item that was tried. Put another one beside them."
            return {self.columns: markup.notice(message)}
        current = asked.query.value if asked is not None else None
        following = disputed.index(current) + 1 if current in disputed else 0
        query = Query("item", disputed[following % len(disputed)])
        return {**self._answer(_changed(asked, query, target, focus), others, k, name, method), self.text: ""}

    def again(
        self, asked: Asked | None, others: list[str], target: Modality, k: int, focus: float, *where: str
    ) -> Updates:
        """The same question, to be answered otherwise."""
        if asked is None:
            return gr.skip()
        return self._answer(replace(asked, target=target, focus=focus), others, k, *where)

    def _models(self, name: str, method: str | None, others: Sequence[str]) -> list[str]:
        """The models that stand side by side; by default some that differ in kind."""
        self.catalogue.source(name, method or "")  # it may be none of them
        sources = self.catalogue[name].sources
        method = method or next(iter(sources))
        beside = [other for other in others if other in sources and other != method]
        return [method, *beside][:MAX_MODELS] if beside else of_different_kinds(sources, method)

    def _answer(self, asked: Asked, others: Sequence[str], k: int, name: str, method: str) -> Updates:
        """The columns of a question, and controls that agree with it; a notice where no model answers it."""
        sources, gallery = self.catalogue[name].sources, self.catalogue.open(name, method)
        if asked.target not in gallery.embeds:
            asked = replace(asked, target=next(iter(gallery.embeds)))
        models, most = self._models(name, method, others), min(MAX_HITS, most_hits(gallery))
        here = replace(asked, k=min(k, most), label=None, min_score=None)
        answers = {sources[model]: self._ask(here, name, model) for model in models}
        answered = [answer for answer in answers.values() if isinstance(answer, Answer)]
        if all(asked.of(answer.gallery).focus is None for answer in answered):
            asked = replace(asked, focus=None)
        targets = [(title, modality) for modality, title in TARGETS.items() if modality in gallery.embeds]
        choices = [(source.title, key) for key, source in sources.items() if key != method]
        takes_texts = any(source.takes_texts for source in answers)
        return {
            self.session_state.asked: asked if answered else None,  # what all refuse is no question to repeat
            self.text: gr.update(visible=takes_texts),
            self.surprise: gr.Button(visible=bool(gallery.class_names) and len(models) > 1),
            self.others: gr.update(choices=choices, value=models[1:], visible=bool(choices)),
            self.target: gr.Radio(targets, value=asked.target, visible=len(targets) > 1),
            self.k: gr.Slider(maximum=max(most, 2), value=here.k, visible=most > 1),
            self.focus: focus_update([each.gallery for each in answered], asked),
            self.columns: side_by_side(here.query, gallery, dict(zip(models, answers.items(), strict=True)))
            if answered
            else markup.notice(str(next(iter(answers.values())))),
        }

    def _ask(self, asked: Asked, name: str, model: str) -> Answer | CMRError:
        try:
            return ask(self.catalogue, asked.of(self.catalogue.open(name, model)), name, model)
        except CMRError as error:
            return error


def _changed(asked: Asked | None, query: Query, target: Modality, focus: float) -> Asked:
    """Another question; how many hits the search shows, and of which class, stays as it is there."""
    return replace(asked or Asked(query, target), query=query, target=target, focus=focus)
