"""Queries to start from, taken from the gallery itself."""

from __future__ import annotations

import numpy as np

from ..gallery import Gallery

LONGEST = 60  # characters of an example text
SHORT = 0.3  # the share of a class's texts that count as short


def typical_items(gallery: Gallery, count: int = 6) -> list[int]:
    """Positions of items that stand for its classes: those whose text lies nearest to the class's mean picture.

    They are chosen among the shorter texts, which make the better examples. Where there are more classes than `count`,
    they are taken at even distances; without classes, so are the items.

    Returns:
        At most `count` different positions.
    """
    members: dict[tuple[str, ...], list[int]] = {}
    for position in range(len(gallery)):
        members.setdefault(gallery.labels(position), []).append(position)
    groups = list(members.values()) if len(members) > 1 else [[i] for i in range(len(gallery))]
    chosen = np.unique(np.linspace(0, len(groups) - 1, min(count, len(groups))).round().astype(int))
    return [_most_typical(gallery, np.array(groups[i])) for i in chosen]


def _most_typical(gallery: Gallery, positions: np.ndarray) -> int:
    mean_picture = gallery.embeds["image"][positions].mean(axis=0)
    lengths = np.array([len(example_text(gallery, i) or " " * (LONGEST + 1)) for i in positions])
    short = positions[lengths <= np.quantile(lengths, SHORT)]
    return int(short[np.argmax(gallery.embeds["text"][short] @ mean_picture)])


def example_text(gallery: Gallery, position: int) -> str | None:
    """The item's first text of several words as an example query; None where it has none that is short enough."""
    return next((text for text in gallery.texts(position) if len(text.split()) > 1 and len(text) <= LONGEST), None)
