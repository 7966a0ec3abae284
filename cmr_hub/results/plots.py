"""Plots of results: mean and deviation of every method on one data set."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from PIL import Image

from cmr_hub.evaluation import DIRECTIONS, get_protocol
from cmr_hub.methods import LEARNS_FROM
from cmr_hub.utils.files import atomic_file

from .cells import metric_title
from .focus_curves import FocusCurve
from .ranking import best_of_each, by_code_length, by_reason, real_valued, row_label
from .schema import Reproduction, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"supervised": "#0f766e", "unsupervised": "#b45309"}
STROKES = {"supervised": "-", "unsupervised": ":"}
A_METHOD = 0.3  # inches
PALETTE = 128  # colours


def draw(results: Reproduction) -> Figure:
    """Means with their deviations: a panel of real-valued methods, and one of codes over their length.

    Each is under the first protocol that its methods were measured under. Next to it stand the same methods under
    protocols that choose the epoch on the test split, and what was published under any of these. A method with several
    encoders has a line for each, and one curve of codes, that of its best encoders. Rows whose encoder was trained on
    the captions are left out where there are others.
    """
    from matplotlib.figure import Figure

    rows, protocols = (
        next(iter(by_reason(results.table.rows, results.dataset).values())),
        list(results.table.protocols),
    )
    floats = next((name for name in protocols if real_valued(rows, name)), None)
    codes = next((name for name in protocols if by_code_length(rows, name)), None)
    panels = [name for name in (floats, codes) if name is not None]
    curves = best_of_each(by_code_length(rows, codes)) if codes else {}
    largest = max(len(real_valued(rows, floats)) if floats else 0, len(curves))
    figure = Figure(figsize=(5.5 * len(panels), 1.3 + A_METHOD * max(largest, 6)), dpi=90, layout="constrained")
    axes = list(figure.subplots(1, len(panels), squeeze=False)[0])
    if floats:
        _draw_floats(axes.pop(0), rows, floats, [name for name in _chosen_on_test(protocols) if name != floats])
    if codes:
        _draw_codes(axes.pop(0), curves, codes)
    figure.suptitle(f"{results.dataset}, {results.table.split} split: mean of both directions ± deviation over seeds")
    return figure


def draw_focus(curves: Sequence[FocusCurve]) -> Figure:
    """Means of both directions over the focus of queries: one line for each checkpoint and protocol."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.6), dpi=90, layout="constrained")
    axes, checkpoints = figure.subplots(), list(dict.fromkeys(curve.of.checkpoint for curve in curves))
    for curve in curves:
        metric = curve.of.metric
        axes.plot(
            list(curve.scores),
            [score.measured.mean or 0.0 for score in curve.scores.values()],
            label=f"{curve.of.checkpoint}: {metric_title(metric)}, {curve.protocol.name}",
            color=f"C{checkpoints.index(curve.of.checkpoint)}",
            linestyle="-" if metric == "map" else "--",
            marker="o",
            markersize=4,
        )
    axes.set(xlabel="focus: 0 the same kind of thing, 1 this very thing", ylabel="mean of both directions")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower center")
    return figure


def save_small(figure: Figure, path: Path) -> None:
    """Write a plot as PNG with a palette, a third as large, that is the same whenever it is drawn."""
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    with atomic_file(path) as scratch:
        Image.open(drawn).convert("RGB").quantize(PALETTE).save(scratch, format="png", optimize=True)


def _chosen_on_test(protocols: Sequence[str]) -> list[str]:
    return [name for name in protocols if get_protocol(name).selection_split == "test"]


def _draw_floats(axes: Axes, rows: Sequence[Row], protocol: str, chosen_on_test: Sequence[str]) -> None:
    ranked = real_valued(rows, protocol)
    metric = ranked[0].primary_metric(protocol)
    place = {_identity(row): -number for number, row in enumerate(ranked)}
    for supervision, colour in COLOURS.items():
        if own := [row for row in ranked if row.supervision == supervision]:
            _dots(axes, own, protocol, metric, place, color=colour, label=f"learns from {LEARNS_FROM[supervision]}")
    for name in chosen_on_test:
        if own := [row for row in real_valued(rows, name) if _identity(row) in place and metric in row.metrics[name]]:
            style = {"color": "#1c1917", "markerfacecolor": "white", "label": "epoch chosen on the test split"}
            _dots(axes, own, name, metric, place, **style)
    cited = {
        _identity(row): value
        for row in ranked
        for name in (protocol, *chosen_on_test)
        if (value := _published_mean(row, name, metric)) is not None
    }
    if cited:
        axes.plot(list(cited.values()), [place[row] for row in cited], "x", color="#6b7280", label="published")
    axes.set_yticks(list(place.values()), [row_label(row, ranked) for row in ranked])
    axes.set(xlabel=f"{metric_title(metric)} under {protocol}")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8, loc="best")


def _identity(row: Row) -> Hashable:
    """What tells rows of one table apart."""
    return row.title, row.key


def _dots(
    axes: Axes, rows: Sequence[Row], protocol: str, metric: str, place: Mapping[Hashable, int], **style: Any
) -> None:
    """A dot a row, with a line as long as its deviation to either side; a lone figure has none."""
    spreads = [row.metrics[protocol][metric] for row in rows]
    axes.errorbar(
        [spread.mean for spread in spreads],
        [place[_identity(row)] for row in rows],
        xerr=[spread.deviation or 0.0 for spread in spreads],
        fmt="o",
        markersize=5,
        capsize=3,
        **style,
    )


def _published_mean(row: Row, protocol: str, metric: str) -> float | None:
    """The published mean of both directions, or the mean of what is published of each."""
    given = row.published.under(protocol)
    both = [given[f"{way}/{metric}"] for way in DIRECTIONS if f"{way}/{metric}" in given]
    return given.get(metric, mean(both) if len(both) == len(DIRECTIONS) else None)


def _draw_codes(axes: Axes, methods: Mapping[str, Mapping[int, Row]], protocol: str) -> None:
    from matplotlib import colormaps

    lengths = sorted({bits for own in methods.values() for bits in own})
    place = {bits: number for number, bits in enumerate(lengths)}
    for number, (title, own) in enumerate(methods.items()):
        some = next(iter(own.values()))
        spreads = [row.metrics[protocol][row.primary_metric(protocol)] for row in own.values()]
        axes.errorbar(
            [place[bits] for bits in own],
            [spread.mean for spread in spreads],
            yerr=[spread.deviation or 0.0 for spread in spreads],
            label=title,
            color=colormaps["tab20"](number % 20),
            linestyle=STROKES[some.supervision],
            marker="o",
            markersize=4,
            capsize=3,
        )
    metric = metric_title(some.primary_metric(protocol))
    axes.set_xticks(list(place.values()), list(map(str, lengths)))
    axes.set(xlabel="bits (dotted: learns from pairs)", ylabel=f"{metric} under {protocol}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
