"""Precision-recall curves of checkpoints, as hashing papers draw them: of the ranking, and of lookup by radius."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cmr_hub.evaluation import DIRECTION_TITLES, DIRECTIONS, EvaluationResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The names of a curve's points in `EvaluationResult.curves`: recall, precision.
RANKING = ("recall", "precision")
# Of hash lookup, which is counted in two ways.
LOOKUPS = {
    "pooled": ("lookup_recall", "lookup_precision"),
    "mean": ("mean_lookup_recall", "mean_lookup_precision"),
}


def draw(results: Mapping[str, EvaluationResult], lookup: str = "pooled") -> Figure:
    """One panel per direction, one line per checkpoint; for codes a second row, in which a point is a Hamming radius.

    Args:
        results: name of a checkpoint -> what was measured of it, with curves, all under one protocol.
        lookup: how lookup by radius is counted: "pooled", over all queries together, as the hashing papers do, or
            "mean", query by query, of which one that returns nothing has precision 0.
    """
    from matplotlib.figure import Figure

    curves = {name: result.curves or {} for name, result in results.items()}
    kinds = {"ranking": RANKING}
    if any(LOOKUPS[lookup][0] in of_one[DIRECTIONS[0]] for of_one in curves.values()):
        kinds[f"lookup by radius, {lookup}"] = LOOKUPS[lookup]
    figure = Figure(figsize=(10, 4.2 * len(kinds)), dpi=150, layout="constrained")
    grid = figure.subplots(len(kinds), len(DIRECTION_TITLES), squeeze=False)
    for row, (kind, names) in zip(grid, kinds.items(), strict=True):
        for axes, (direction, title) in zip(row, DIRECTION_TITLES.items(), strict=True):
            _draw_panel(axes, {name: of_one[direction] for name, of_one in curves.items()}, names)
            axes.set_title(f"{title}: {kind}")
    grid[0][0].legend(frameon=False)
    return figure


def _draw_panel(axes: Axes, curves: Mapping[str, Mapping[str, list[float]]], names: tuple[str, str]) -> None:
    for name, curve in curves.items():
        if names[0] in curve:
            axes.plot(curve[names[0]], curve[names[1]], marker=".", label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)


def points(results: Mapping[str, EvaluationResult]) -> dict[str, object]:
    """The curves as JSON values, with the protocol that they are of."""
    protocol = next(iter(results.values())).protocol
    return {
        "protocol": protocol.name,
        "protocol_description": protocol.describe(),
        "curves": {name: result.curves for name, result in results.items()},
    }
