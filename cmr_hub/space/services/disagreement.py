"""Where checkpoints disagree: the items that some of them find their class from, and others do not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmr_hub.data.base import hash_order
from cmr_hub.data.columns import Modality
from cmr_hub.retrieval.gallery import Gallery

from .average_precision import average_precisions

SAMPLE = 300  # items looked at: enough to surprise, and a matter of milliseconds a checkpoint
MAX_DISPUTED = 24


def most_disputed(
    galleries: Sequence[Gallery], source: Modality, target: Modality, *, sample: int = SAMPLE, most: int = MAX_DISPUTED
) -> list[str]:
    """Items of which the average precision differs most from checkpoint to checkpoint, the most disputed first.

    Args:
        galleries: the same items, each time embedded by another checkpoint; items that one of them lacks are left out.
        source: which side of an item is the query.
        target: which side of the items is compared.
        sample: how many items are looked at, chosen by a hash of their ids.
        most: how many are given at most.

    Returns:
        Ids. None where the items have no classes, or all checkpoints agree.

    Example:
    ```python
    >>> from cmr_hub.space.services.catalogue import Catalogue
    >>> catalogue = Catalogue()
    >>> galleries = [catalogue.open("emoji", method) for method in ("dscmr", "cca")]
    >>> len(most_disputed(galleries, "text", "image", most=5))
    5
    ```
    """
    shared = set(galleries[0].ids).intersection(*(gallery.ids for gallery in galleries[1:]))
    ids = sorted(shared, key=hash_order)[:sample]
    precisions = np.stack(
        [average_precisions(gallery, [*map(gallery.position, ids)], source, target) for gallery in galleries]
    )
    spread = np.nan_to_num(precisions.max(axis=0) - precisions.min(axis=0))  # nan: nothing to be right about
    order = np.argsort(-spread, kind="stable")[:most]
    return [ids[row] for row in order if spread[row] > 0]
