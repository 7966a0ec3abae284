"""Precision-recall curves as charts."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from cmr_hub.evaluation import EvaluationResult

from .charts import AXIS, lay_out, plain

MAX_CURVES = 4
# Each stands out on a light and on a dark page; the strokes tell them apart without colour.
STROKES = (("#0d9488", "solid"), ("#d97706", "dash"), ("#8b5cf6", "dot"), ("#e11d48", "dashdot"))
HEIGHT = 360


def draw(results: Mapping[str, EvaluationResult], direction: str, title: str) -> go.Figure:
    """Precision over recall in one direction, one line per checkpoint.

    Args:
        results: name of a checkpoint -> what was measured of it, with curves; at most `MAX_CURVES`.
        direction: "image_to_text" or "text_to_image".
        title: what the direction is called.
    """
    figure = go.Figure()
    for (name, result), (colour, dash) in zip(results.items(), STROKES, strict=False):
        curve = curve_of(result, direction)
        figure.add_scatter(
            x=curve["recall"],
            y=curve["precision"],
            name=plain(name),
            mode="lines+markers",
            line={"color": colour, "dash": dash},
            hovertemplate="%{y:.3f}",
        )
    axis = {**AXIS, "range": [-0.02, 1.02]}
    return lay_out(
        figure,
        title,
        HEIGHT,
        xaxis={**axis, "title": "recall"},
        yaxis={**axis, "title": "precision"},
        hovermode="x unified",
    )


def curve_of(result: EvaluationResult, direction: str) -> dict[str, list[float]]:
    """The curve of a result that was measured with curves: "recall" and "precision"."""
    assert result.curves is not None
    return result.curves[direction]
