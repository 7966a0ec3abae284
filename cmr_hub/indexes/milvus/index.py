"""Items on a Milvus server: more than one machine holds, searched beside what they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from tqdm import tqdm

from cmr_hub.errors import CheckpointError, InputError, ServerError
from cmr_hub.indexes import register_index
from cmr_hub.modeling.embeddings import kind_of
from cmr_hub.utils.files import atomic_folder
from cmr_hub.utils.hub import read_json

from ..base import CONFIG_NAME, Filter, Index, check_k
from ..nearest import padded
from .collection import KEY, VECTOR, VectorIndex, has_any_label, has_key, held_vectors, record
from .connection import Connection
from .server import local_address
from .vectors import STORED_VECTORS, StoredVectors

MAX_FOUND = 16_384  # by a search or a query: Milvus' own limit
MAX_FILTERED = 200_000  # ids that a search can be confined to
BATCH_ROWS = 5_000  # sent at once; with the longest texts still half of what Milvus takes
BATCH_BYTES = 1 << 24  # of vectors sent at once
BATCH_KEYS = 10_000  # in one filter
BATCH_QUERIES = 100  # searched at once
BATCH_FOUND = 100_000  # hits asked for at once
SEAL_FROM = 100_000  # so many new items are sealed at once, which indexes them; fewer the server seals by and by
COMPARED = 256  # items whose vectors are compared with those on the server before an ingest goes on
ALIKE = 0.99  # mean cosine of these: vectors that were computed again differ in their last digits
LONG_SECONDS = 1800.0  # that the server may take to load a collection or to write it to disk


class Items(Protocol):
    """Records of items, `id`, `labels`, `text` and `image`, read slice by slice."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Sequence[Mapping[str, Any]]: ...


@register_index("milvus")
class MilvusIndex(Index):
    """A collection of a Milvus cluster, or of a server that is started on this machine.

    It is filled in batches. Whatever interrupts that, a `kill -9` or the server's end, the same call made again looks
    which items are there, and sends the others: an item is never there twice. Vectors are not kept in this process.

    "FLAT" is exact. Equal distances are in the order of their ids, but of those that share the `k`-th place Milvus
    chooses which come along. A search waits for what this object has written; what others write is seen some seconds
    later.

    Args:
        vectors: as for [`Index`], float32 or uint8; they may be mapped from disk. None opens what is there.
        ids: as for [`Index`].
        collection: its name, of letters, digits and underscores.
        address: "http://host:19530"; by default a server of the PyPI package `milvus` is started, or used if it runs,
            with its data in `folder`; see [`~cmr_hub.indexes.milvus.server.local_address`].
        token: "user:password" or an API key; by default `$MILVUS_TOKEN`. It is never written to disk.
        folder: see `address`.
        timeout: seconds that a request may take.
        metadata: of each item in the order of `vectors`: `id`, `labels` (names of classes), `text` and `image` (where
            the image is). Texts are cut to 4,096 bytes.
        index_type: "FLAT"; "IVF_FLAT" or, of real-valued vectors, "HNSW", which are quicker and miss some.
        index_params: Milvus' own for building, as {"nlist": 1024} or {"M": 16, "efConstruction": 200}.
            The server makes use of it some half a minute after the items were sent; until then it guesses.
        search_params: Milvus' own for searching, by default {"nprobe": 64} or {"ef": 64}.

    Raises:
        InputError: the collection has another layout, another index or other items than these, which the message
            names; nothing is changed then.
        ServerError: the server cannot be reached, does not answer in time, or refuses.

    Attributes:
        address: of the server.
        collection: its name.

    Example (it needs a server, or the package that has one):

    ```python
    index = MilvusIndex(codes, collection="holiday", metadata=[{"id": "beach.jpg", "labels": ["sea"]}, ...])
    scores, ids = index.search(queries, k=10, filter=Filter(np.arange(0), ("sea",)))
    index.metadata(ids[0])
    ```
    """

    wants_metadata = True

    def __init__(
        self,
        vectors: np.ndarray | None,
        ids: np.ndarray | None = None,
        *,
        collection: str,
        address: str | None = None,
        token: str | None = None,
        folder: str | os.PathLike | None = None,
        timeout: float = 60.0,
        metadata: Items | None = None,
        index_type: str = "FLAT",
        index_params: Mapping[str, Any] | None = None,
        search_params: Mapping[str, Any] | None = None,
    ):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", collection):
            raise InputError(f"A collection's name has letters, digits and underscores, unlike {collection!r}.")
        self.collection = collection
        self._options = {
            "address": address,
            "folder": None if folder is None else str(Path(folder).absolute()),
            "timeout": timeout,
            "index_type": index_type,
            "index_params": dict(index_params or {}),
            "search_params": dict(search_params or {}),
        }
        self._call = Connection(local_address(folder) if address is None else address, token, timeout)
        self.address = self._call.address
        if vectors is None:
            if not self._call("has_collection", collection):
                raise CheckpointError(
                    f"There is no collection {collection!r} at {self.address}: build it from vectors."
                )
            self.representation, self.width = held_vectors(self._call("describe_collection", collection))
        else:
            self.representation = kind_of(vectors).name
            self.width = vectors.shape[1]
        self.approximate = index_type != "FLAT"
        self._unread = True  # whether something was written that no search has waited for
        self._count: int | None = None
        self._prepare(VectorIndex(self.representation, self.width, index_type, index_params))
        if vectors is not None:
            self._ingest(vectors, ids, metadata)

    @classmethod
    def drop(
        cls,
        collection: str,
        *,
        address: str | None = None,
        token: str | None = None,
        folder: str | os.PathLike | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Delete a collection and all that is in it; one that does not exist is no error."""
        connection = Connection(local_address(folder) if address is None else address, token, timeout)
        connection("drop_collection", collection)
        connection.close()

    @classmethod
    def options_for(cls, options: Mapping[str, Any], gallery: str, modality: str) -> dict[str, Any]:
        """Each side of a gallery has a collection, named by `collection`, or else the gallery's name, and the side."""
        name = re.sub(r"[^A-Za-z0-9_]", "_", f"{options.get('collection', gallery)}_{modality}")
        return {**options, "collection": name if re.match(r"[A-Za-z_]", name) else f"_{name}"}

    @property
    def options(self) -> dict[str, Any]:
        return {"collection": self.collection, **self._options}

    def __len__(self) -> int:
        """As this object knows it; it counts what is there when it is made, and after it has written."""
        if self._count is None:
            self._count = self._query("", ["count(*)"])[0]["count(*)"]
        return self._count

    @property
    def ids(self) -> np.ndarray:
        """`(n,)` int64, ascending; read from the server page by page."""
        return np.concatenate([np.empty(0, np.int64), *self._pages(0)])

    def search(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` items for each query; see [`Index.search`].

        Confined to classes, `filter.labels`, the server filters by the labels that it has; otherwise by the ids, of
        which there may be 200,000.

        Raises:
            InputError: as for every index; also more than 16,384 hits, or more ids than that.
            ServerError: as for the class.
        """
        self.check(queries)
        check_k(k)
        if k > MAX_FOUND:
            raise InputError(f"k is {k:,}, and Milvus finds at most {MAX_FOUND:,} items a query.")
        filters = _filters(filter)
        step = min(BATCH_QUERIES, max(1, BATCH_FOUND // k))
        found = []
        for start in range(0, len(queries), step):
            found += self._search(queries[start : start + step], k, filters)
        return padded([scores for scores, _ in found], [ids for _, ids in found], k)

    def metadata(self, ids: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """What the server has of some items: `id`, `labels`, `text` and `image`, in the order of `ids`.

        Raises:
            InputError: an id that is not there.
        """
        there = {}
        for start in range(0, len(ids), BATCH_KEYS):
            fields = [KEY, "id", "labels", "text", "image"]
            for item in self._query(has_key(ids[start : start + BATCH_KEYS]), fields):
                key = item.pop(KEY)
                there[key] = {**item, "labels": list(item["labels"])}
        missing = [key for key in ids if int(key) not in there]
        if missing:
            raise InputError(f"There is no item with the id {missing[0]} in this index.")
        return [there[int(key)] for key in ids]

    def add(self, vectors: np.ndarray, ids: np.ndarray | None = None, metadata: Items | None = None) -> None:
        """Add items; see [`Index.add`].

        Args:
            vectors, ids: as for [`Index.add`].
            metadata: as for the class.

        Raises:
            InputError: as for every index. Nothing was added.
            ServerError: as for the class. Some may have been added: `ids` says which.
        """
        self.check(vectors, "new vectors")
        if ids is None:
            ids = self._next_id() + np.arange(len(vectors), dtype=np.int64)
        else:
            ids = self._checked_ids(ids, len(vectors), self._there(np.asarray(ids, np.int64)))
        self._send(vectors, ids, metadata, np.ones(len(vectors), bool))

    def remove(self, ids: np.ndarray) -> None:
        ids = np.asarray(ids, np.int64)
        missing = ids[~np.isin(ids, self._there(ids))]
        if len(missing):
            raise InputError(f"There is no item with the id {missing[0]} in this index: nothing was removed.")
        for start in range(0, len(ids), BATCH_KEYS):
            self._write("delete", filter=has_key(ids[start : start + BATCH_KEYS]))

    def save(self, folder: str | os.PathLike) -> None:
        """Write where the collection is, and how large: the items themselves stay on the server, the token nowhere."""
        config = {
            "index": self.name,
            "options": self.options,
            "width": self.width,
            "representation": self.representation,
            "items": len(self),
        }
        with atomic_folder(folder) as scratch:
            (scratch / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n")

    @classmethod
    def from_saved(cls, folder: str | os.PathLike, options: dict[str, Any]) -> Self:
        """Open the collection that [`save`] named.

        Raises:
            CheckpointError: it is gone, or holds something else than it did.
            ServerError: as for the class.
        """
        config = read_json(Path(folder) / CONFIG_NAME)
        index = cls(None, **options)
        facts = {"representation": index.representation, "width": index.width, "items": len(index)}
        for fact, value in facts.items():
            if config[fact] != value:
                raise CheckpointError(
                    f"The collection {index.collection!r} at {index.address} has changed since {folder} was saved: "
                    f"{fact} was {config[fact]} and is {value}. Build it from its vectors again, which sends what is "
                    "missing, or save it again."
                )
        return index

    def _prepare(self, vector_index: VectorIndex) -> None:
        """Make the collection ready to be filled and searched, from whatever state a crash left it in."""
        if not self._call("has_collection", self.collection):
            self._call("create_collection", self.collection, schema=vector_index.schema())
        difference = vector_index.difference(self._call("describe_collection", self.collection))
        if difference:
            raise self._refused(difference)
        if not self._call("list_indexes", self.collection, VECTOR):
            self._call("create_index", self.collection, vector_index.index_params())
        described = self._call("describe_index", self.collection, VECTOR)
        for option, wanted in vector_index.described.items():
            if described.get(option) != wanted:
                raise self._refused(f"its {option} is {described.get(option)}, and {wanted} was asked for")
        self._call("load_collection", self.collection, timeout=LONG_SECONDS)

    def _refused(self, difference: str) -> InputError:
        return InputError(
            f"The collection {self.collection!r} at {self.address} is another one: {difference}. Nothing was changed. "
            f"Use another name (collection=…), or delete it with MilvusIndex.drop({self.collection!r}, …)."
        )

    def _ingest(self, vectors: np.ndarray, ids: np.ndarray | None, metadata: Items | None) -> None:
        """Send what is not there yet."""
        count = len(vectors)
        keys = np.arange(count) if ids is None else self._checked_ids(ids, count, np.empty(0, np.int64))
        there = self._rows_there(keys)
        self._check_alike(vectors, keys, np.flatnonzero(there))
        self._send(vectors, keys, metadata, ~there)
        if len(self) != count:
            raise ServerError(
                f"{count:,} items were sent to the collection {self.collection!r} at {self.address}, and it has "
                f"{len(self):,}: another process writes into it."
            )

    def _rows_there(self, keys: np.ndarray) -> np.ndarray:
        """`(n,)` bool, which of all keys are on the server, where no others may be."""
        if len(self) == 0:
            return np.zeros(len(keys), bool)
        if len(self) == len(keys) == self._next_id() and keys.max() < len(keys):
            return np.ones(len(keys), bool)  # both have all numbers from 0: nothing needs to be read
        present = self.ids
        others = present[~np.isin(present, keys)]
        if len(others):
            raise self._refused(f"it has {len(others):,} items that are not among these, as the id {others[0]}")
        return np.isin(keys, present)

    def _check_alike(self, vectors: np.ndarray, keys: np.ndarray, rows: np.ndarray) -> None:
        """Refuse a collection that was made from other vectors, as by another checkpoint."""
        if len(rows) == 0:
            return
        rows = np.unique(rows[np.linspace(0, len(rows) - 1, COMPARED).astype(np.int64)])
        held = {item[KEY]: item[VECTOR] for item in self._query(has_key(keys[rows]), [KEY, VECTOR])}
        cosines = [self._stored.cosine(vectors[row], self._stored.received(held[keys[row]])) for row in rows]
        if np.mean(cosines) < ALIKE:
            raise self._refused(
                f"of {len(rows)} items that it has and that are given again, the vectors differ (mean cosine "
                f"{np.mean(cosines):.2f}), as those of another checkpoint or of another side of a gallery do"
            )

    def _send(self, vectors: np.ndarray, keys: np.ndarray, metadata: Items | None, wanted: np.ndarray) -> None:
        """Send the wanted rows in batches, each a piece of the whole so that metadata are read in pieces too."""
        if metadata is not None and len(metadata) != len(vectors):
            raise InputError(f"There are {len(vectors)} vectors and metadata of {len(metadata)} items: one each.")
        step = min(BATCH_ROWS, max(1, BATCH_BYTES // (self.width * vectors.itemsize)))
        with tqdm(total=int(wanted.sum()), desc=f"To Milvus: {self.collection}", unit=" items", delay=1) as progress:
            for start in range(0, len(vectors), step):
                rows = np.flatnonzero(wanted[start : start + step])
                if len(rows) == 0:
                    continue
                batch = self._kept(vectors[start : start + step])
                items = [{}] * len(batch) if metadata is None else metadata[start : start + step]
                records = [record(int(keys[start + row]), batch[row], items[row]) for row in rows]
                self._write("upsert", data=records)
                progress.update(len(rows))
        if wanted.any() and (self.approximate or wanted.sum() >= SEAL_FROM):
            self._call("flush", self.collection, timeout=LONG_SECONDS)

    def _search(self, queries: np.ndarray, k: int, filters: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Scores and ids of up to `k` items for each of a few queries, in order."""
        queries = self._kept(queries)
        options = {"data": [self._stored.sent(query) for query in queries], "limit": k}
        found: list[tuple[list[float], list[int]]] = [([], []) for _ in queries]
        for expression in filters:
            results = self._read("search", filter=expression, search_params=self._search_params(k), **options)
            for (distances, ids), hits in zip(found, results, strict=True):
                distances += [hit.distance for hit in hits]
                ids += [hit.id for hit in hits]
        return [self._ordered(*each, k) for each in found]

    def _ordered(self, distances: Sequence[float], ids: Sequence[int], k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = self._stored.cosines(np.array(distances, np.float64), self.width)
        rows = np.array(ids, np.int64)
        order = np.lexsort((rows, -scores))[:k]
        return scores[order], rows[order]

    def _search_params(self, k: int) -> dict[str, Any]:
        params = {"nprobe": 64, "ef": 64, **self._options["search_params"]}
        return {"params": {**params, "ef": max(params["ef"], k)}}  # Milvus refuses an ef below k

    @property
    def _stored(self) -> StoredVectors:
        return STORED_VECTORS[self.representation]

    def _there(self, ids: np.ndarray) -> np.ndarray:
        """Those of some ids that are on the server."""
        found = [
            item[KEY]
            for start in range(0, len(ids), BATCH_KEYS)
            for item in self._query(has_key(ids[start : start + BATCH_KEYS]), [KEY])
        ]
        return np.array(found, np.int64)

    def _next_id(self) -> int:
        """One above the largest id. Where none lies beyond the count, all numbers below it are taken."""
        return 1 + max((int(page[-1]) for page in self._pages(len(self))), default=len(self) - 1)

    def _pages(self, first: int) -> Iterator[np.ndarray]:
        """The ids from `first`, ascending, a few thousand at a time."""
        while True:
            # Without the last option newer servers stop at any so many, not at the smallest.
            found = self._query(f"{KEY} >= {first}", [KEY], limit=MAX_FOUND, reduce_stop_for_best=True)
            if len(found) == 0:
                return
            page = np.sort(np.array([item[KEY] for item in found], np.int64))
            yield page
            first = int(page[-1]) + 1

    def _query(self, expression: str, fields: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        return list(self._read("query", filter=expression, output_fields=list(fields), **options))

    def _read(self, method: str, **options: Any) -> Any:
        """Search or query. To wait for what was just written costs half a second, so that it is done once."""
        level = "Strong" if self._unread else "Bounded"
        result = self._call(method, self.collection, consistency_level=level, **options)
        self._unread = False
        return result

    def _write(self, method: str, **options: Any) -> None:
        self._unread, self._count = True, None
        self._call(method, self.collection, **options)


def _filters(filter: Filter | None) -> list[str]:
    """Expressions that together let through what may be found; none where nothing may."""
    if filter is None:
        return [""]
    if filter.labels:
        return [has_any_label(filter.labels)]
    ids = np.unique(filter.ids)
    if len(ids) > MAX_FILTERED:
        raise InputError(
            f"A search in Milvus can be confined to {MAX_FILTERED:,} ids, not to {len(ids):,}: confine it by class."
        )
    return [has_key(ids[start : start + BATCH_KEYS]) for start in range(0, len(ids), BATCH_KEYS)]
