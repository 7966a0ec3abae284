"""What charts have in common. Only what they show has colours of its own: the page's style gives the others."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from markupsafe import escape

CLEAR = "rgba(0,0,0,0)"
GREY = "#78716c"
# Each is at least three times as bright, or as dark, as the page's background, both in light and in dark. Neighbours
# in the list are far apart in hue.
COLOURS = (
    "#0d9488", "#e11d48", "#2563eb", "#b45309", "#9333ea", "#4d7c0f", "#db2777", "#0284c7", "#ea580c", "#6366f1",
    "#15803d", "#c026d3", "#a16207", "#0e7490", "#dc2626", "#7c3aed", "#65a30d", "#be185d", "#3b82f6", "#92684a",
)  # fmt: skip
AXIS = {"fixedrange": True, "zeroline": False}


def lay_out(figure: go.Figure, title: str, height: int, **layout: Any) -> go.Figure:
    """A figure as the page shows it: it neither zooms nor moves, and stands on the page's own background.

    Args:
        figure: with its traces.
        title: above it.
        height: in pixels.
        **layout: as `update_layout` takes it; before what all charts have.
    """
    given = {
        "template": "none",
        "title": {"text": title, "font": {"size": 15}, "x": 0.02},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "showlegend": True,
        "legend": {"orientation": "h", "y": -0.25},
        "hoverlabel": {"bgcolor": "#ffffff", "font": {"color": "#1c1917"}},
        "dragmode": False,
        "height": height,
        "margin": {"l": 55, "r": 15, "t": 45, "b": 40},
    }
    return figure.update_layout(**{**given, **layout})


def plain(text: str) -> str:
    """A text for a chart, where plotly would read tags and entities."""
    return str(escape(text))
