"""Queries to start from, taken from the gallery itself."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from cmr_hub.data.columns import Modality
from cmr_hub.modeling.codes import unpack
from cmr_hub.modeling.embeddings import BINARY, kind_of
from cmr_hub.retrieval.gallery import Gallery

from .queries import Asked, Query

FIRST_HITS = 12
MAX_HITS = 60
TYPICAL = 6  # items to start from
LONGEST = 60  # characters of an example text
SHORT = 0.3  # the share of a class's texts that count as short


_typical: WeakKeyDictionary[Gallery, dict[int, list[int]]] = WeakKeyDictionary()  # every opening needs them


def typical_items(gallery: Gallery, count: int = TYPICAL) -> list[int]:
    """Positions of items that stand for its classes: those whose text lies nearest to the class's mean image.

    They are chosen among the shorter texts, which make the better examples. In a gallery of one modality, that one is
    text and image. Where there are more classes than `count`, they are taken at even distances; without classes, so
    are the items.

    Returns:
        At most `count` different positions.
    """
    kept = _typical.setdefault(gallery, {})
    if count not in kept:
        kept[count] = _typical_items(gallery, count)
    return kept[count]


def _typical_items(gallery: Gallery, count: int) -> list[int]:
    members: dict[tuple[str, ...], list[int]] = {}
    for position in range(len(gallery)):
        members.setdefault(gallery.labels(position), []).append(position)
    groups = list(members.values()) if len(members) > 1 else [[i] for i in range(len(gallery))]
    chosen = np.unique(np.linspace(0, len(groups) - 1, min(count, len(groups))).round().astype(int))
    return [_most_typical(gallery, np.array(groups[i])) for i in chosen]


def _most_typical(gallery: Gallery, positions: np.ndarray) -> int:
    modalities = (gallery.embeds.get(modality, next(iter(gallery.embeds.values()))) for modality in ("image", "text"))
    images, texts = (unpack(rows) if kind_of(rows) is BINARY else rows for rows in modalities)
    mean_image = images[positions].mean(axis=0)
    lengths = np.array([len(example_text(gallery, i) or " " * (LONGEST + 1)) for i in positions])
    short = positions[lengths <= np.quantile(lengths, SHORT)]
    return int(short[np.argmax(texts[short] @ mean_image)])


def example_text(gallery: Gallery, position: int) -> str | None:
    """The item's first text of several words as an example query; None where it has none that is short enough."""
    return next((text for text in gallery.texts(position) if len(text.split()) > 1 and len(text) <= LONGEST), None)


def first_question(gallery: Gallery, k: int = FIRST_HITS) -> Asked:
    """What a gallery opens on: its first example text where texts can be typed, otherwise an item."""
    position = typical_items(gallery)[0]
    text = example_text(gallery, position)
    takes_texts = gallery.retriever.processor.text_encoder.accepts_raw_input
    query = Query("text", text) if text and takes_texts else Query("item", gallery.ids[position])
    target: Modality = "image" if "image" in gallery.embeds else "text"
    return Asked(query, target, min(k, most_hits(gallery)), is_opening=True)


def most_hits(gallery: Gallery) -> int:
    """As many as an item of the gallery can find besides itself, and no more than a page can show."""
    return max(1, min(MAX_HITS, len(gallery) - 1))
