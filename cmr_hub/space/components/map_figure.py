"""A gallery's map as a plotly figure: circles are images, triangles texts, and colours classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from gradio.components.plot import PlotData
from plotly.io.json import to_json_plotly

from cmr_hub.data.columns import Modality
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.maps import GalleryMap, PrincipalMap, rows_by_id

from .charts import CLEAR, COLOURS, GREY

MAX_POINTS = 4_000  # that a browser draws as SVG without being slowed down
SYMBOLS: dict[Modality, str] = {"image": "circle", "text": "triangle-up"}
OTHERS = "Other classes"
NO_CLASS = "No class"
FAINT = "rgba(128,128,128,0.16)"
# JavaScript moves these traces; their names are those of their elements in the page, which the style sheet colours.
STAR, RINGS = "cmr-star", "cmr-rings"
CONFIG = {
    "scrollZoom": True,
    "displaylogo": False,
    "displayModeBar": True,
    "modeBarButtons": [["zoomIn2d", "zoomOut2d", "resetScale2d"]],
}


@dataclass(frozen=True)
class ClassColour:
    """One line of the legend.

    Attributes:
        name: of the class.
        colour: as CSS has it.
        items: how many are drawn.
    """

    name: str
    colour: str
    items: int


@dataclass(frozen=True)
class Drawing:
    """A figure and what is to be said about it.

    Attributes:
        plot: for `gr.Plot`.
        legend: a line for each class that is drawn; trace `meta.group` counts them from 0. Empty without classes.
        items: how many items are drawn.
    """

    plot: PlotData
    legend: list[ClassColour]
    items: int


def draw(gallery: Gallery, layout: GalleryMap, modalities: Sequence[Modality]) -> Drawing:
    """Draw a map.

    Args:
        gallery: whose.
        layout: its positions.
        modalities: what is drawn; of more than `MAX_POINTS` points the first in an order fixed by their ids.
    """
    at = rows_by_id([gallery.ids[row] for row in layout.rows], MAX_POINTS // len(modalities))
    rows = layout.rows[at]
    names = [_first_class(gallery, row) for row in rows.tolist()]
    groups, group_of = _groups(gallery, names)
    figure = go.Figure(layout=_layout(layout))
    for number, group in enumerate(groups):
        members = np.flatnonzero(group_of == number)
        for modality in modalities:
            x, y = layout.points[modality][at[members]].T
            figure.add_scatter(
                x=x,
                y=y,
                customdata=rows[members],
                meta={"group": number, "modality": modality},
                mode="markers",
                marker={"symbol": SYMBOLS[modality], "color": group.colour, "size": 7, "opacity": 0.75},
                hoverinfo="none",
            )
    for name, symbol, size in ((RINGS, "circle-open", 15), (STAR, "star", 20)):
        marker = {"symbol": symbol, "size": size, "color": GREY, "opacity": 1, "line": {"width": 2}}
        figure.add_scatter(x=[], y=[], uid=name, meta=name, mode="markers", marker=marker, hoverinfo="skip")
    # gr.Plot leaves out how a figure is to be used, and its front end takes it all the same.
    content = to_json_plotly({**figure.to_plotly_json(), "config": CONFIG})
    legend = groups if gallery.class_names else []
    return Drawing(PlotData(type="plotly", plot=content), legend, len(rows))


def _groups(gallery: Gallery, names: list[str]) -> tuple[list[ClassColour], np.ndarray]:
    """The classes that are drawn, and which of them each item is of. Those without a colour of their own are one."""
    counts = Counter(names)
    largest = [name for name, _ in counts.most_common() if name != NO_CLASS][: len(COLOURS)]
    ordered = [name for name in gallery.class_names if name in largest]
    shown = {name: ordered.index(name) if name in ordered else len(ordered) for name in counts}
    items = np.bincount([shown[name] for name in names], minlength=len(ordered))
    groups = [ClassColour(name, COLOURS[i], int(items[i])) for i, name in enumerate(ordered)]
    if len(items) > len(ordered):
        left = {name for name in counts if name not in ordered}
        name = NO_CLASS if left == {NO_CLASS} else OTHERS
        groups.append(ClassColour(name, GREY if ordered else COLOURS[0], int(items[-1])))
    return groups, np.array([shown[name] for name in names])


def _first_class(gallery: Gallery, row: int) -> str:
    return next(iter(gallery.labels(row)), NO_CLASS)


def _layout(layout: GalleryMap) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "showticklabels": False,
        "zeroline": False,
        "gridcolor": FAINT,
        "title": {"font": {"size": 13}, "standoff": 8},
    }
    titles: list[str | None] = [None, None]
    if isinstance(layout, PrincipalMap):
        both = zip(("First", "Second"), layout.shares, strict=True)
        titles = [f"{which} component: {share:.1%} of the variance" for which, share in both]
    return {
        "template": "none",
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "margin": {"l": 40, "r": 8, "t": 34, "b": 44},
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": "pan",
        "modebar": {"bgcolor": CLEAR},
        "xaxis": {**axis, "title": {**axis["title"], "text": titles[0]}},
        "yaxis": {**axis, "title": {**axis["title"], "text": titles[1]}, "scaleanchor": "x"},
    }
