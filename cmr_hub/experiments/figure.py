"""A checkpoint's common space as an image: t-SNE of images and texts together, by modality and by class."""

from __future__ import annotations

import logging
from colorsys import hls_to_rgb
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset

from cmr_hub.data.columns import column_of, read_column
from cmr_hub.data.labels import class_names, has_labels, label_matrix
from cmr_hub.errors import InputError
from cmr_hub.retrieval.maps import PERPLEXITY, lay_out, rows_by_id
from cmr_hub.retrieval.retriever import Retriever

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

MARKERS = {"images": "o", "texts": "^"}
MODALITY_COLOURS = {"images": "tab:blue", "texts": "tab:orange"}
DPI = 100
PANEL = (7.0, 6.5)  # inches; a legend of classes stands beside the panels
LEGEND_COLUMN = 2.2
CLASSES_A_COLUMN = 20


@dataclass(frozen=True)
class Projection:
    """The plane that the common space was laid out in.

    Attributes:
        ids: the items, `n` of them.
        points: "images" and "texts" -> `(n, 2)` float32 coordinates; row i of both is item i.
        classes: names of the data set's classes; none where it has no classes.
        class_of: `(n,)` rows of `classes`; of several classes of an item the first counts.
        has_several: whether some item has several classes.
    """

    ids: list[str]
    points: dict[str, np.ndarray]
    classes: list[str]
    class_of: np.ndarray | None
    has_several: bool

    def to_dict(self) -> dict[str, Any]:
        """The coordinates as JSON values."""
        names = [None] * len(self.ids) if self.class_of is None else [self.classes[row] for row in self.class_of]
        both = zip(self.ids, names, self.points["images"].tolist(), self.points["texts"].tolist(), strict=True)
        return {"items": [{"id": i, "class": name, "image": image, "text": text} for i, name, image, text in both]}


def project(
    retriever: Retriever, dataset: Dataset, *, most: int = 1000, seed: int = 0, perplexity: float = PERPLEXITY
) -> Projection:
    """Embed a split and lay it out in the plane.

    Args:
        retriever: the checkpoint.
        dataset: the split; an item's captions make one text.
        most: of more pairs than this, those that come first in an order fixed by their ids.
        seed: of the layout; it starts from principal components, so that seeds differ little or not at all.
        perplexity: of t-SNE: about how many neighbours each point keeps.

    Raises:
        InputError: the checkpoint takes columns that the data set lacks, an item has no class where others have, or
            there are too few items for the perplexity.
    """
    dataset = subsample(dataset, most)
    _check_perplexity(perplexity, len(dataset))
    classes, class_of, has_several = first_classes(dataset)
    processor = retriever.processor
    image_column = column_of(dataset, "image", processor.image_encoder.accepts_raw_input)
    text_column = column_of(dataset, "text", processor.text_encoder.accepts_raw_input)
    logger.info("Embedding %d images and as many texts", len(dataset))
    images = retriever.encode_images(read_column(dataset, image_column), cache=True, show_progress=True)
    texts = retriever.encode_texts(read_column(dataset, text_column), show_progress=True)
    logger.info("Laying %d points out by t-SNE, perplexity %g, seed %d", 2 * len(dataset), perplexity, seed)
    points = lay_out(np.concatenate([images, texts]), seed=seed, perplexity=perplexity)
    both = {"images": points[: len(dataset)], "texts": points[len(dataset) :]}
    return Projection(dataset["id"][:], both, classes, class_of, has_several)


def subsample(dataset: Dataset, most: int) -> Dataset:
    """At most so many rows, chosen by a hash of their ids: the same for every checkpoint."""
    if most < 2:
        raise InputError(f"A figure needs two pairs at least, not {most}.")
    return dataset.select(rows_by_id(dataset["id"][:], most))


def first_classes(dataset: Dataset) -> tuple[list[str], np.ndarray | None, bool]:
    """Class names, each item's first class, and whether an item has several; nothing for data without classes."""
    if not has_labels(dataset.column_names):
        return [], None, False
    labels = label_matrix(dataset)
    without = np.flatnonzero(labels.sum(axis=1) == 0)
    if len(without):
        raise InputError(f"Item {dataset['id'][without[0]]!r} has no class; leave it out or label it.")
    return class_names(dataset), labels.argmax(axis=1), bool((labels.sum(axis=1) > 1).any())


def draw(projection: Projection, title: str) -> Figure:
    """Panels side by side: coloured by modality and, where there are classes, by class; circles are images."""
    from matplotlib.figure import Figure

    shown = [] if projection.class_of is None else np.unique(projection.class_of).tolist()
    columns = -(-len(shown) // CLASSES_A_COLUMN)
    panels = 2 if shown else 1
    width = panels * PANEL[0] + columns * LEGEND_COLUMN
    # A Figure of its own, not pyplot's: it needs no display and leaves no state behind.
    figure = Figure(figsize=(width, PANEL[1]), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    draw_modalities(axes[0], projection)
    if shown:
        draw_classes(axes[1], projection)
        handles = [_handle("s", class_colour(row, len(projection.classes)), projection.classes[row]) for row in shown]
        figure.legend(handles=handles, loc="outside right center", ncols=columns, frameon=False)
    return figure


def draw_modalities(axes: Axes, projection: Projection) -> None:
    """One panel: every point, coloured by the side that it comes from."""
    for modality, points in projection.points.items():
        _scatter(axes, modality, points, MODALITY_COLOURS[modality])
    axes.legend(
        handles=[_handle(MARKERS[modality], colour, modality) for modality, colour in MODALITY_COLOURS.items()]
    )
    axes.set_title("by modality")


def draw_classes(axes: Axes, projection: Projection) -> None:
    """One panel: every point, coloured by its class."""
    rows = [] if projection.class_of is None else projection.class_of.tolist()
    colours = np.array([class_colour(row, len(projection.classes)) for row in rows])
    for modality, points in projection.points.items():
        _scatter(axes, modality, points, colours)
    axes.legend(handles=[_handle(marker, "grey", modality) for modality, marker in MARKERS.items()])
    axes.set_title("by class" + (" (of several the first)" if projection.has_several else ""))


def class_colour(row: int, number: int) -> tuple[float, float, float]:
    """RGB of one class among a number: hues round most of the circle, neighbours of different lightness."""
    return hls_to_rgb(0.92 * row / number, (0.35, 0.52, 0.7)[row % 3], (0.75, 0.9, 0.65)[row % 3])


def _scatter(axes: Axes, modality: str, points: np.ndarray, colours: Any) -> None:
    axes.scatter(
        points[:, 0], points[:, 1], s=16, c=colours, marker=MARKERS[modality], linewidths=0, alpha=0.75, label=modality
    )
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")


def _handle(marker: str, colour: Any, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", marker=marker, color=colour, label=label)


def _check_perplexity(perplexity: float, pairs: int) -> None:
    if not 0 < perplexity < 2 * pairs:
        raise InputError(
            f"Perplexity {perplexity:g} does not fit {2 * pairs} points ({pairs} pairs): it must be above 0 and "
            "below their number. Give another --perplexity, or more items."
        )
