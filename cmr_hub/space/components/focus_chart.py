"""Scores over the focus of queries as a chart."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from cmr_hub.results.cells import metric_title
from cmr_hub.results.focus_curves import FocusCurve

from .charts import AXIS, COLOURS, lay_out, plain

HEIGHT = 400
DASHES = {"map": "solid", "mean_recall": "dash"}


def draw(curves: Mapping[str, list[FocusCurve]]) -> go.Figure:
    """Means of both directions over the focus: one line per checkpoint and protocol.

    Args:
        curves: name of a checkpoint -> its curves.
    """
    figure = go.Figure()
    for number, (name, own) in enumerate(curves.items()):
        for curve in own:
            metric = curve.of.metric
            figure.add_scatter(
                x=list(curve.scores),
                y=[score.measured.mean for score in curve.scores.values()],
                name=plain(f"{name}: {metric_title(metric)}, {curve.protocol.name}"),
                mode="lines+markers",
                line={"color": COLOURS[number % len(COLOURS)], "dash": DASHES[metric]},
                hovertemplate="%{y:.3f}",
            )
    return lay_out(
        figure,
        "Mean of both directions",
        HEIGHT,
        xaxis={**AXIS, "range": [-0.02, 1.02], "dtick": 0.25, "title": "focus"},
        yaxis={**AXIS, "rangemode": "tozero"},
        hovermode="x unified",
    )
