"""The view of measured scores: a leaderboard, precision-recall curves, and what the parts of methods are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gradio as gr

from cmr_hub.errors import CMRError
from cmr_hub.evaluation import EvaluationResult
from cmr_hub.results.ablations import list_ablations
from cmr_hub.results.focus_curves import FocusCurve, focus_curves, without_focus
from cmr_hub.results.leaderboard import Score
from cmr_hub.retrieval.precision_recall import has_curves, is_quick, measure_curves

from ..components import focus_chart, markup, scores_markup
from ..components.curve_charts import MAX_CURVES, draw
from ..components.rendering import render
from ..components.session_state import QUIET, Updates
from ..components.tables import SORTING
from ..services.queries import Asked
from ..services.scoreboard import Scoreboard, known_scores
from .base import View

EVERYWHERE = ""
FIRST_CURVES = 2
MEASURES_AT_ONCE = 2  # to measure is work, for a second or more


class Curved(NamedTuple):
    """What the charts show: the checkpoints' curves, on a data set or everywhere, under a protocol."""

    dataset: str
    protocol: str
    checkpoints: tuple[str, ...]


class ScoresView(View):
    """The checkpoints' own records. The chosen gallery says which data set is shown first."""

    name = "scores"
    title = "Scores"

    def _lay_out(self) -> None:
        gr.HTML(scores_markup.introduction(), apply_default_css=False)
        with gr.Row(elem_id="cmr-scored"):
            self.dataset = gr.Radio([], label="Data set", min_width=260, elem_id="cmr-scored-dataset")
            self.protocol = gr.Radio([], label="Counted by protocol", min_width=260, elem_id="cmr-scored-protocol")
        self.board = gr.HTML(js_on_load=SORTING, apply_default_css=False, elem_id="cmr-scoreboard")
        with gr.Column(visible=False) as self.focused:
            gr.HTML(
                render("part_heading", title="From the same kind of thing to this very thing"), apply_default_css=False
            )
            with gr.Row(elem_id="cmr-focused", elem_classes="cmr-charts"):
                self.focus_chart = gr.Plot(show_label=False, min_width=300, container=False)
            self.focus_figures = gr.HTML(apply_default_css=False, elem_id="cmr-focus-figures")
        gr.HTML(render("part_heading", title="Precision over recall"), apply_default_css=False)
        self.checkpoints = gr.Dropdown(
            [],
            value=[],
            multiselect=True,
            max_choices=MAX_CURVES,
            label=f"Checkpoints, at most {MAX_CURVES}",
            elem_id="cmr-curved",
        )
        with gr.Row(elem_id="cmr-curves", elem_classes="cmr-charts") as self.curves:
            self.charts = {
                direction: gr.Plot(show_label=False, min_width=300, container=False)
                for direction in scores_markup.DIRECTIONS
            }
        self.without_data = gr.HTML(apply_default_css=False, visible=False)
        self.figures = gr.HTML(apply_default_css=False, elem_id="cmr-curve-figures")
        self.ablations = gr.HTML(apply_default_css=False, elem_id="cmr-ablations")
        # Each picker reports its own change, even before all of them have their new values.
        self.curved = gr.State()

    def _connect(self) -> None:
        here = [self.dataset, self.protocol, self.checkpoints]
        self.dataset.input(self.on_dataset, [self.dataset, self.protocol], self.page, **QUIET)
        self.protocol.input(self.on_protocol, here, [self.board, self.curved], **QUIET)
        self.checkpoints.input(self.on_checkpoints, here, self.curved, trigger_mode="always_last", **QUIET)
        self.curved.change(
            self.on_curves,
            self.curved,
            [*self.charts.values(), self.figures],
            trigger_mode="always_last",
            show_progress_on=[*self.charts.values()],
            **{**QUIET, "show_progress": "minimal", "concurrency_limit": MEASURES_AT_ONCE},
        )

    @property
    def page(self) -> list[Any]:
        """Everything that another data set changes."""
        shown = [self.dataset, self.protocol, self.board, self.checkpoints, self.curved]
        focused = [self.focused, self.focus_chart, self.focus_figures]
        return [*shown, *focused, self.curves, self.without_data, self.ablations]

    def open(self, name: str, method: str | None, asked: Asked | None) -> Updates:
        """The scores on the data set of a gallery, where there are some; the curves of its model and of the best."""
        scores = known_scores()
        datasets = list(dict.fromkeys(score.dataset for score in scores))
        dataset = self.catalogue[name].info.name
        dataset = dataset if dataset in datasets else EVERYWHERE
        source = self.catalogue[name].sources.get(method or "")
        current = source.checkpoint if source else None
        return {
            self.dataset: gr.Radio(
                [*((scores_markup.title_of(each), each) for each in datasets), ("All", EVERYWHERE)],
                value=dataset,
            ),
            **self._show(scores, dataset, None, current),
        }

    def on_dataset(self, dataset: str, protocol: str) -> Updates:
        """Another data set, by the same protocol where something was measured by it."""
        return self._show(known_scores(), dataset, protocol, None)

    def on_protocol(self, dataset: str, protocol: str, checkpoints: Sequence[str]) -> Updates:
        """The same checkpoints, counted otherwise."""
        board = scores_markup.board(_board_of(known_scores(), dataset), protocol, _called(dataset))
        return {self.board: board, self.curved: Curved(dataset, protocol, tuple(checkpoints))}

    def on_checkpoints(self, dataset: str, protocol: str, checkpoints: Sequence[str]) -> Curved:
        """Curves of other checkpoints."""
        return Curved(dataset, protocol, tuple(checkpoints))

    def _show(self, scores: Sequence[Score], dataset: str, protocol: str | None, current: str | None) -> Updates:
        scoreboard = _board_of(scores, dataset)
        if protocol not in scoreboard.protocols:
            protocol = scoreboard.usual
        best_first = scoreboard.ranking(protocol)
        choices = [(_name(score, dataset), score.checkpoint) for score in best_first if _has_data(score)]
        listed = [checkpoint for _, checkpoint in choices]
        first = ([current] if current in listed else []) + [each for each in listed if each != current]
        curved = Curved(dataset, protocol, tuple(first[:FIRST_CURVES]))
        tables = [table for table in list_ablations() if dataset in (table.dataset, EVERYWHERE)]
        return {
            self.protocol: gr.Radio(scoreboard.protocols, value=protocol),
            self.board: scores_markup.board(scoreboard, protocol, _called(dataset)),
            self.checkpoints: gr.Dropdown(
                choices, value=list(curved.checkpoints), multiselect=True, visible=bool(choices)
            ),
            self.curved: curved,
            self.curves: gr.Row(visible=bool(choices)),
            self.without_data: gr.HTML(scores_markup.without_data(dataset), visible=not choices),
            self.ablations: scores_markup.ablations(tables),
            **self._show_focus(scores, dataset),
        }

    def _show_focus(self, scores: Sequence[Score], dataset: str) -> Updates:
        """The chart over the focus, of the checkpoints that were measured at several."""
        curves: dict[str, list[FocusCurve]] = {}
        for curve in focus_curves(score for score in scores if dataset in (score.dataset, EVERYWHERE)):
            curves.setdefault(_name(curve.of, dataset), []).append(curve)
        return {
            self.focused: gr.Column(visible=bool(curves)),
            self.focus_chart: focus_chart.draw(curves) if curves else None,
            self.focus_figures: scores_markup.focus_figures(curves) if curves else "",
        }

    def on_curves(self, curved: Curved | None) -> Updates:
        """The chosen checkpoints' curves, under the chosen protocol where it has any."""
        if curved is None:  # a page that loads reports the first value of a state as a change
            return {self.figures: gr.skip()}
        nothing = dict.fromkeys(self.charts.values())
        if not curved.checkpoints:
            return {**nothing, self.figures: ""}
        try:
            results = self._measured(known_scores(), curved)
        except CMRError as error:
            return {**nothing, self.figures: markup.notice(str(error))}
        charts = {
            chart: draw(results, direction, scores_markup.DIRECTIONS[direction])
            for direction, chart in self.charts.items()
        }
        return {**charts, self.figures: scores_markup.curve_figures(results)}

    def _measured(self, scores: Sequence[Score], curved: Curved) -> Mapping[str, EvaluationResult]:
        protocols = [curved.protocol, *_board_of(scores, curved.dataset).protocols]
        drawn = next(each for each in protocols if has_curves(each))
        by_checkpoint = {score.checkpoint: score for score in scores}
        return {
            _name(by_checkpoint[each], curved.dataset): measure_curves(each, by_checkpoint[each].dataset, drawn)
            for each in curved.checkpoints
        }


def _board_of(scores: Sequence[Score], dataset: str) -> Scoreboard:
    """The scores on a data set, but for those of a focus, which have a chart of their own."""
    return Scoreboard([score for score in without_focus(scores) if dataset in (score.dataset, EVERYWHERE)])


def _has_data(score: Score) -> bool:
    return is_quick(score.checkpoint, score.dataset)


def _name(score: Score, dataset: str) -> str:
    """What tells a checkpoint from the others that can be chosen beside it."""
    parts = [
        score.title,
        f"{score.bits} bits" if score.bits else "",
        "" if dataset else scores_markup.title_of(score.dataset),
    ]
    return ", ".join(filter(None, parts))


def _called(dataset: str) -> str:
    return scores_markup.title_of(dataset) if dataset else "each one's data set"
