"""Results over seeds as charts: real-valued methods as bars, and codes over their length, with error bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from cmr_hub.methods import LEARNS_FROM
from cmr_hub.results import Row
from cmr_hub.results.cells import metric_title
from cmr_hub.results.ranking import row_label

from .charts import AXIS, COLOURS, GREY, lay_out, plain

# Bars and lines of what learns from classes, and from pairs: by colour, and without it.
BARS = {"supervised": ("#0d9488", ""), "unsupervised": ("#b45309", "/")}
DASHES = {"supervised": "solid", "unsupervised": "dot"}
BAR_HEIGHT, MARGINS = 26, 130  # pixels
CODES_HEIGHT = 520


def draw_floats(rows: Sequence[Row], protocol: str) -> go.Figure:
    """One bar per method and encoders, the best on top: the mean of both directions, with the deviation over seeds.

    Args:
        rows: of real-valued methods, best first, all measured under `protocol`.
        protocol: name of the protocol.
    """
    metric, figure = rows[0].primary_metric(protocol), go.Figure()
    for supervision, (colour, pattern) in BARS.items():
        own = [row for row in rows if row.supervision == supervision]
        spreads = [row.metrics[protocol][metric] for row in own]
        figure.add_bar(
            x=[spread.mean for spread in spreads],
            y=[plain(row_label(row, rows)) for row in own],
            orientation="h",
            name=f"learns from {LEARNS_FROM[supervision]}",
            marker={"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "fgcolor": "#ffffff"}},
            error_x={"array": [spread.deviation for spread in spreads], "color": GREY, "thickness": 1.5},
            customdata=[str(spread) for spread in spreads],
            hovertemplate="%{y}: %{customdata}<extra></extra>",
        )
    names = [plain(row_label(row, rows)) for row in reversed(rows)]
    return lay_out(
        figure,
        _title(metric),
        MARGINS + BAR_HEIGHT * len(rows),
        xaxis={**AXIS, "rangemode": "tozero"},
        yaxis={**AXIS, "automargin": True, "categoryorder": "array", "categoryarray": names},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
        bargap=0.35,
    )


def draw_codes(methods: Mapping[str, Mapping[int, Row]], protocol: str) -> go.Figure:
    """One line per method: its mean of both directions over the code length, with the deviation over its seeds.

    Args:
        methods: label -> code length -> row, best first, all measured under `protocol`.
        protocol: name of the protocol.
    """
    each = [row for own in methods.values() for row in own.values()]
    metric, figure = each[0].primary_metric(protocol), go.Figure()
    for number, (title, own) in enumerate(methods.items()):
        spreads = [row.metrics[protocol][metric] for row in own.values()]
        colour, some = COLOURS[number % len(COLOURS)], next(iter(own.values()))
        figure.add_scatter(
            x=[str(bits) for bits in own],
            y=[spread.mean for spread in spreads],
            name=plain(title),
            mode="lines+markers",
            line={"color": colour, "dash": DASHES[some.supervision]},
            error_y={"array": [spread.deviation for spread in spreads], "thickness": 1.5, "width": 3},
            customdata=[str(spread) for spread in spreads],
            hovertemplate="%{fullData.name}, %{x} bits: %{customdata}<extra></extra>",
        )
    lengths = [str(bits) for bits in sorted({row.bits for row in each if row.bits is not None})]
    return lay_out(
        figure,
        _title(metric),
        CODES_HEIGHT,
        xaxis={
            **AXIS,
            "title": "bits (dotted: learns from pairs)",
            "type": "category",
            "categoryorder": "array",
            "categoryarray": lengths,
        },
        yaxis=AXIS,
        hovermode="closest",
    )


def _title(metric: str) -> str:
    return f"{metric_title(metric)}, mean of both directions, ± deviation"
