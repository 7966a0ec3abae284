"""Fill a collection in batches: only what is not there yet is sent, so that an interrupted ingest goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from cmr_hub.errors import InputError, ServerError
from cmr_hub.modeling.embeddings import kind_of

from .collection import KEY, VECTOR, has_key, record
from .stored_items import StoredItems
from .vectors import STORED_VECTORS

BATCH_ROWS = 5_000  # sent at once; with the longest texts still half of what Milvus takes
BATCH_BYTES = 1 << 24  # of vectors sent at once
SEAL_FROM = 100_000  # so many new items are sealed at once, which indexes them; fewer the server seals by and by
COMPARED = 256  # items whose vectors are compared with those on the server before an ingest goes on
ALIKE = 0.99  # mean cosine of these: vectors that were computed again differ in their last digits


class Items(Protocol):
    """Records of items, `id`, `labels`, `text` and `image`, read slice by slice."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Sequence[Mapping[str, Any]]: ...


class Ingest:
    """Sends items to a collection.

    Args:
        stored: the collection's items.
        seals: whether all that is sent is sealed at once, as an index that is not exact needs it.
    """

    def __init__(self, stored: StoredItems, *, seals: bool):
        self.stored, self.seals = stored, seals

    def fill(self, vectors: np.ndarray, keys: np.ndarray, metadata: Items | None) -> None:
        """Send what is not there yet.

        Args:
            vectors: `(n, width)` embeddings of all items that the collection is to have.
            keys: `(n,)` int64, their numbers.
            metadata: what they are.

        Raises:
            InputError: the collection has other items, or the same ones with other vectors.
            ServerError: it has more items afterwards.
        """
        there = self._rows_there(keys)
        self._check_alike(vectors, keys, np.flatnonzero(there))
        self.send(vectors, keys, metadata, ~there)
        if len(self.stored) != len(vectors):
            raise ServerError(
                f"{len(vectors):,} items were sent to the collection {self.stored.collection!r} at "
                f"{self.stored.call.address}, and it has {len(self.stored):,}: another process writes into it."
            )

    def send(self, vectors: np.ndarray, keys: np.ndarray, metadata: Items | None, wanted: np.ndarray) -> None:
        """Send the wanted rows in batches, each a piece of the whole so that metadata are read in pieces too."""
        if metadata is not None and len(metadata) != len(vectors):
            raise InputError(f"There are {len(vectors)} vectors and metadata of {len(metadata)} items: one each.")
        kind = kind_of(vectors)
        step = min(BATCH_ROWS, max(1, BATCH_BYTES // (vectors.shape[1] * vectors.itemsize)))
        description = f"To Milvus: {self.stored.collection}"
        with tqdm(total=int(wanted.sum()), desc=description, unit=" items", delay=1) as progress:
            for start in range(0, len(vectors), step):
                rows = np.flatnonzero(wanted[start : start + step]).tolist()
                if not rows:
                    continue
                batch = kind.as_stored(vectors[start : start + step])
                items = [{}] * len(batch) if metadata is None else metadata[start : start + step]
                records = [record(int(keys[start + row]), batch[row], items[row]) for row in rows]
                self.stored.write("upsert", data=records)
                progress.update(len(rows))
        if wanted.any() and (self.seals or wanted.sum() >= SEAL_FROM):
            self.stored.flush()

    def _rows_there(self, keys: np.ndarray) -> np.ndarray:
        """`(n,)` bool, which of all keys are on the server, where no others may be."""
        stored = self.stored
        if len(stored) == 0:
            return np.zeros(len(keys), bool)
        if len(stored) == len(keys) == stored.next_id() and keys.max() < len(keys):
            return np.ones(len(keys), bool)  # both have all numbers from 0: nothing needs to be read
        present = stored.ids
        others = present[~np.isin(present, keys)]
        if len(others):
            raise stored.refused(f"it has {len(others):,} items that are not among these, as the id {others[0]}")
        return np.isin(keys, present)

    def _check_alike(self, vectors: np.ndarray, keys: np.ndarray, rows: np.ndarray) -> None:
        """Refuse a collection that was made from other vectors, as by another checkpoint."""
        if len(rows) == 0:
            return
        as_held = STORED_VECTORS[kind_of(vectors).name]
        rows = np.unique(rows[np.linspace(0, len(rows) - 1, COMPARED).astype(np.int64)])
        held = {item[KEY]: item[VECTOR] for item in self.stored.query(has_key(keys[rows]), [KEY, VECTOR])}
        cosines = [as_held.cosine(vectors[row], as_held.received(held[keys[row]])) for row in rows]
        if np.mean(cosines) < ALIKE:
            raise self.stored.refused(
                f"of {len(rows)} items that it has and that are given again, the vectors differ (mean cosine "
                f"{np.mean(cosines):.2f}), as those of another checkpoint or of the other modality of a gallery do"
            )
