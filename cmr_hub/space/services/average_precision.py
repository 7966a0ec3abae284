"""How well items of a gallery find their class: average precision over the whole gallery, not only the hits shown."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import csr_array

from cmr_hub.data.columns import Modality
from cmr_hub.evaluation.metrics import average_precision
from cmr_hub.evaluation.ranking import Distances, Ranking, distances_between, distances_with_focus, ranked_hits
from cmr_hub.retrieval.gallery import Gallery

_classes_kept: WeakKeyDictionary[Gallery, csr_array] = WeakKeyDictionary()  # every search from an item needs them


def average_precision_of(
    gallery: Gallery, item: str, source: Modality, target: Modality, focus: float | None = None
) -> float | None:
    """Average precision of one item as the query; see [`average_precisions`].

    Args:
        gallery: where.
        item: its id.
        source: which of its sides is the query.
        target: which side of the items is compared.
        focus: of the query, as for `Gallery.search`.

    Returns:
        Between 0 and 1; None where nothing else in the gallery can be right.

    Raises:
        InputError: there is no such item.
    """
    value = average_precisions(gallery, [gallery.position(item)], source, target, focus)[0]
    return None if np.isnan(value) else float(value)


def average_precisions(
    gallery: Gallery, positions: Sequence[int], source: Modality, target: Modality, focus: float | None = None
) -> np.ndarray:
    """Average precision of many items as queries, a block of them at a time.

    Right is what shares a class with the query. Where an item's own side is searched, the item itself is left out.
    Equal scores stand in gallery order, as a search shows them. Everything is compared, whatever the index.

    Args:
        gallery: where.
        positions: `q` rows of it.
        source: which side of these items is the query; one that the gallery has, like `target`.
        target: which side of the items is compared.
        focus: of the queries, as for `Gallery.search`.

    Returns:
        `(q,)` float64 between 0 and 1; nan where an item has no class, or nothing else in the gallery shares it.

    Example:
    ```python
    >>> from cmr_hub.space.services.catalogue import Catalogue
    >>> gallery = Catalogue().open("emoji", "dscmr")
    >>> (average_precisions(gallery, [0, 1], "text", "image") > 0.5).tolist()
    [True, True]
    ```
    """
    queries, classes = np.asarray(positions, np.int64), _classes(gallery)
    ranking = Ranking(
        _distances(gallery, gallery.embeds[source][queries], gallery.embeds[target], focus),
        classes[queries],
        classes,
        excluded=(queries, np.arange(len(gallery))) if source == target else None,
    )
    found = ranking.map(_measure, "Average precision")
    return np.concatenate(found) if found else np.empty(0)


def _distances(gallery: Gallery, queries: np.ndarray, embeds: np.ndarray, focus: float | None) -> Distances:
    class_dim, default = gallery.retriever.class_dim, gallery.retriever.default_focus
    if class_dim is None or default is None:
        return distances_between(queries, embeds)
    return distances_with_focus(queries, embeds, class_dim, default if focus is None else focus)


def _measure(distance: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    precision = average_precision(ranked_hits(distance, relevant))
    return np.where(relevant.any(axis=1), precision, np.nan)


def _classes(gallery: Gallery) -> csr_array:
    """Which item is of which classes: `(n, classes)` booleans."""
    if gallery not in _classes_kept:
        number = {name: column for column, name in enumerate(gallery.class_names)}
        own = [[number[name] for name in gallery.labels(row)] for row in range(len(gallery))]
        columns = np.array([column for labels in own for column in labels], np.int64)
        starts = np.cumsum([0, *map(len, own)])
        shape = (len(gallery), max(1, len(number)))
        _classes_kept[gallery] = csr_array((np.ones(len(columns), bool), columns, starts), shape=shape)
    return _classes_kept[gallery]
