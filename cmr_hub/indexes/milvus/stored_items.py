"""The items of one collection on a Milvus server: found, read, counted and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cmr_hub.errors import InputError

from .collection import KEY, VECTOR, VectorIndex, has_key
from .connection import Connection

MAX_FOUND = 16_384  # by a search or a query: Milvus' own limit
BATCH_KEYS = 10_000  # in one filter
LONG_SECONDS = 1800.0  # that the server may take to load a collection or to write it to disk


class StoredItems:
    """The items of a collection, by number.

    A search waits for what this object has written; what others write is seen some seconds later.

    Args:
        call: the server.
        collection: name of the collection.
    """

    def __init__(self, call: Connection, collection: str):
        self.call, self.collection = call, collection
        self._unread = True  # whether something was written that no search has waited for
        self._count: int | None = None

    def __len__(self) -> int:
        """As this object knows it; it counts what is there when it is made, and after it has written."""
        if self._count is None:
            self._count = self.query("", ["count(*)"])[0]["count(*)"]
        return self._count

    @property
    def ids(self) -> np.ndarray:
        """`(n,)` int64, ascending; read from the server page by page."""
        return np.concatenate([np.empty(0, np.int64), *self._pages(0)])

    def prepare(self, vector_index: VectorIndex) -> None:
        """Make the collection ready to be filled and searched, from whatever state a crash left it in.

        Raises:
            InputError: it has other fields or another index; nothing is changed.
        """
        if not self.call("has_collection", self.collection):
            self.call("create_collection", self.collection, schema=vector_index.schema())
        difference = vector_index.difference(self.call("describe_collection", self.collection))
        if difference:
            raise self.refused(difference)
        if not self.call("list_indexes", self.collection, VECTOR):
            self.call("create_index", self.collection, vector_index.index_params())
        described = self.call("describe_index", self.collection, VECTOR)
        for option, wanted in vector_index.described.items():
            if described.get(option) != wanted:
                raise self.refused(f"its {option} is {described.get(option)}, and {wanted} was asked for")
        self.call("load_collection", self.collection, timeout=LONG_SECONDS)

    def refused(self, difference: str) -> InputError:
        """The error that says how this collection is not the one that was meant."""
        return InputError(
            f"The collection {self.collection!r} at {self.call.address} is another one: {difference}. Nothing was "
            "changed. Use another name (collection=…), or delete it with "
            f"MilvusIndex.drop({self.collection!r}, …)."
        )

    def there(self, ids: np.ndarray) -> np.ndarray:
        """Those of some ids that are on the server."""
        found = [
            item[KEY]
            for start in range(0, len(ids), BATCH_KEYS)
            for item in self.query(has_key(ids[start : start + BATCH_KEYS]), [KEY])
        ]
        return np.array(found, np.int64)

    def next_id(self) -> int:
        """One above the largest id. Where none lies beyond the count, all numbers below it are taken."""
        return 1 + max((int(page[-1]) for page in self._pages(len(self))), default=len(self) - 1)

    def query(self, expression: str, fields: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        """Fields of the items that an expression lets through."""
        return list(self.read("query", filter=expression, output_fields=list(fields), **options))

    def read(self, method: str, **options: Any) -> Any:
        """Search or query. To wait for what was just written costs half a second, so that it is done once."""
        level = "Strong" if self._unread else "Bounded"
        result = self.call(method, self.collection, consistency_level=level, **options)
        self._unread = False
        return result

    def write(self, method: str, **options: Any) -> None:
        """Upsert or delete."""
        self._unread, self._count = True, None
        self.call(method, self.collection, **options)

    def flush(self) -> None:
        """Seal what was written, which indexes it."""
        self.call("flush", self.collection, timeout=LONG_SECONDS)

    def _pages(self, first: int) -> Iterator[np.ndarray]:
        """The ids from `first`, ascending, a few thousand at a time."""
        while True:
            # Without the last option newer servers stop at any so many, not at the smallest.
            found = self.query(f"{KEY} >= {first}", [KEY], limit=MAX_FOUND, reduce_stop_for_best=True)
            if len(found) == 0:
                return
            page = np.sort(np.array([item[KEY] for item in found], np.int64))
            yield page
            first = int(page[-1]) + 1
