"""The view of results over seeds: what `cmr reproduce` measured of every method on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from cmr_hub.results import Reproduction, list_results
from cmr_hub.results.ranking import best_of_each, by_code_length, by_reason, real_valued

from ..components import results_markup
from ..components.result_charts import draw_codes, draw_floats
from ..components.scores_markup import title_of
from ..components.session_state import QUIET, Updates
from ..components.tables import SORTING
from ..services.queries import Asked
from .base import View


class ResultsView(View):
    """Results over seeds. The chosen gallery says which data set is shown first."""

    name = "results"
    title = "Results"

    def _connect(self) -> None:
        asked = [self.dataset, self.protocol]
        self.dataset.input(self.on_choice, asked, self.page, **QUIET)
        self.protocol.input(self.on_choice, asked, self.page, **QUIET)

    def _lay_out(self) -> None:
        gr.HTML(results_markup.introduction(), apply_default_css=False)
        with gr.Row(elem_id="cmr-measured"):
            self.dataset = gr.Radio([], label="Data set", min_width=260, elem_id="cmr-measured-dataset")
            self.protocol = gr.Radio([], label="Counted by protocol", min_width=260, elem_id="cmr-measured-protocol")
        self.counted = gr.HTML(apply_default_css=False, elem_id="cmr-measured-counted")
        with gr.Column(elem_classes="cmr-charts"):
            self.floats = gr.Plot(show_label=False, container=False, elem_id="cmr-floats")
            self.codes = gr.Plot(show_label=False, container=False, elem_id="cmr-codes")
        self.tables = gr.HTML(js_on_load=SORTING, apply_default_css=False, elem_id="cmr-measured-tables")
        self.about = gr.HTML(apply_default_css=False, elem_id="cmr-measured-about")

    @property
    def page(self) -> list[Any]:
        """Everything that another data set or protocol changes."""
        return [self.dataset, self.protocol, self.counted, self.floats, self.codes, self.tables, self.about]

    def open(self, name: str, method: str | None, asked: Asked | None) -> Updates:
        """The results on the data set of a gallery; where there are none, the first that there are."""
        return self._show(list_results(), self.catalogue[name].info.name, None)

    def on_choice(self, dataset: str, protocol: str | None) -> Updates:
        """Another data set or protocol; of another data set, the same protocol where something was measured by it."""
        return self._show(list_results(), dataset, protocol)

    def _show(self, known: Sequence[Reproduction], dataset: str, protocol: str | None) -> Updates:
        if not known:
            nothing = {component: type(component)(visible=False) for component in self.page}
            return {**nothing, self.counted: results_markup.nothing_measured()}
        results = next((each for each in known if each.dataset == dataset), known[0])
        protocols = list(results.table.protocols)
        protocol = protocol if protocol in protocols else protocols[0]
        rows = [row for row in results.table.rows if protocol in row.metrics]
        compared = next(iter(by_reason(rows, results.dataset).values()))
        floats = real_valued(compared, protocol)
        codes = best_of_each(by_code_length(compared, protocol))
        return {
            self.dataset: gr.Radio([(title_of(each.dataset), each.dataset) for each in known], value=results.dataset),
            self.protocol: gr.Radio(protocols, value=protocol),
            self.counted: results_markup.counted(results, protocol),
            self.floats: gr.Plot(draw_floats(floats, protocol) if floats else None, visible=bool(floats)),
            self.codes: gr.Plot(draw_codes(codes, protocol) if codes else None, visible=bool(codes)),
            self.tables: results_markup.tables(results, protocol),
            self.about: results_markup.about(results, protocol),
        }
