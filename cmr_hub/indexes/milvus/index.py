"""Items on a Milvus server: more than one machine holds, searched beside what they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.indexes import register_index
from cmr_hub.modeling.embeddings import kind_of
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import saved

from ..base import CONFIG_NAME, Filter, Index, check_k
from ..nearest import padded
from .collection import KEY, VECTOR, VectorIndex, has_any_label, has_item, has_key, held_vectors
from .connection import URI_VARIABLE, Connection, check_confirmed
from .ingest import Ingest, Items
from .server import local_address
from .stored_items import BATCH_KEYS, MAX_FOUND, StoredItems
from .vectors import STORED_VECTORS, StoredVectors

MAX_FILTERED = 200_000  # ids that a search can be confined to
BATCH_QUERIES = 100  # searched at once
BATCH_ITEMS = 500  # ids of items, of up to 512 bytes each, in one filter
BATCH_VECTORS = 1_000  # read at once
BATCH_FOUND = 100_000  # hits asked for at once


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
        address: "http://host:19530"; by default `$MILVUS_URI`. Without either, or where `folder` is given, a server of
            the PyPI package `milvus` is started, or used if it runs, with its data in `folder`; see
            [`~cmr_hub.indexes.milvus.server.local_address`]. A file only hints at an address: opening a saved index or
            gallery takes this argument or `$MILVUS_URI`.
        token: "user:password" or an API key; by default `$MILVUS_TOKEN`, which no server started here is sent. It is
            never written to disk.
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
    location_options = ("address", "folder")
    secret_options = ("token",)

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
        self._options: dict[str, Any] = {
            "address": address,
            "folder": None if folder is None else str(Path(folder).absolute()),
            "timeout": timeout,
            "index_type": index_type,
            "index_params": dict(index_params or {}),
            "search_params": dict(search_params or {}),
        }
        self._call = _connection(address, token, folder, timeout)
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
        self._items = StoredItems(self._call, collection)
        self._items.prepare(VectorIndex(self.representation, self.width, index_type, index_params))
        self._ingest = Ingest(self._items, seals=self.approximate)
        if vectors is not None:
            keys = np.arange(len(vectors))
            if ids is not None:
                keys = self._checked_ids(ids, len(vectors), np.empty(0, np.int64))
            self._ingest.fill(vectors, keys, metadata)

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
        connection = _connection(address, token, folder, timeout)
        connection("drop_collection", collection)
        connection.close()

    @classmethod
    def options_for(cls, options: Mapping[str, Any], gallery: str, modality: str) -> dict[str, Any]:
        """Each side of a gallery has a collection, named by `collection`, or else the gallery's name, and the side."""
        name = re.sub(r"[^A-Za-z0-9_]", "_", f"{options.get('collection', gallery)}_{modality}")
        return {**options, "collection": name if re.match(r"[A-Za-z_]", name) else f"_{name}"}

    @classmethod
    def options_to_save(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Without the token, and without the folder, which is a path of this machine."""
        return {name: value for name, value in super().options_to_save(options).items() if name != "folder"}

    @classmethod
    def options_to_open(cls, saved: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As [`Index.options_to_open`]; the server is one that the caller or `$MILVUS_URI` names."""
        options = super().options_to_open(saved, given)
        if not any(name in options for name in cls.location_options):
            check_confirmed(saved.get("address"))
        return options

    @property
    def options(self) -> dict[str, Any]:
        return {"collection": self.collection, **self._options}

    def __len__(self) -> int:
        """As this object knows it; it counts what is there when it is made, and after it has written."""
        return len(self._items)

    @property
    def ids(self) -> np.ndarray:
        """`(n,)` int64, ascending; read from the server page by page."""
        return self._items.ids

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
            for item in self._items.query(has_key(ids[start : start + BATCH_KEYS]), fields):
                key = item.pop(KEY)
                there[key] = {**item, "labels": list(item["labels"])}
        missing = [key for key in ids if int(key) not in there]
        if missing:
            raise InputError(f"There is no item with the id {missing[0]} in this index.")
        return [there[int(key)] for key in ids]

    def ids_of(self, items: Sequence[str]) -> dict[str, int]:
        """The index's numbers of items, by what their metadata call `id`; those that are not there are left out.

        Raises:
            ServerError: as for the class.
        """
        found: dict[str, int] = {}
        for start in range(0, len(items), BATCH_ITEMS):
            expression = has_item(items[start : start + BATCH_ITEMS])
            found |= {item["id"]: item[KEY] for item in self._items.query(expression, [KEY, "id"])}
        return found

    def some_ids(self, count: int) -> np.ndarray:
        """Up to `count` numbers of items, whichever the server gives first; `(n,)` int64.

        Raises:
            ServerError: as for the class.
        """
        found = self._items.query(f"{KEY} >= 0", [KEY], limit=min(count, MAX_FOUND))
        return np.array([item[KEY] for item in found], np.int64)

    def vectors_of(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Embeddings of some items, `(n, width)`, in the order of `ids`.

        Raises:
            InputError: an id that is not there.
            ServerError: as for the class.
        """
        there: dict[int, np.ndarray] = {}
        for start in range(0, len(ids), BATCH_VECTORS):
            found = self._items.query(has_key(ids[start : start + BATCH_VECTORS]), [KEY, VECTOR])
            there |= {item[KEY]: self._stored.received(item[VECTOR]) for item in found}
        missing = [key for key in ids if int(key) not in there]
        if missing:
            raise InputError(f"There is no item with the id {missing[0]} in this index.")
        return np.stack([there[int(key)] for key in ids])

    def put(self, vectors: np.ndarray, ids: np.ndarray, metadata: Items | None = None) -> None:
        """Add items, in place of those that have the same ids. Several processes may do so at once.

        Args:
            vectors: as for [`Index.add`].
            ids: as for [`Index.add`].
            metadata: as for the class.

        Raises:
            InputError: as for every index. Nothing was changed.
            ServerError: as for the class. Some items may have been sent: doing it again sends all.
        """
        self.check(vectors, "new vectors")
        keys = self._checked_ids(ids, len(vectors), np.empty(0, np.int64))
        self._ingest.send(vectors, keys, metadata, np.ones(len(vectors), bool))

    def add(self, vectors: np.ndarray, ids: np.ndarray | None = None, metadata: Items | None = None) -> None:
        """Add items; see [`Index.add`].

        Args:
            vectors: as for [`Index.add`].
            ids: as for [`Index.add`].
            metadata: as for the class.

        Raises:
            InputError: as for every index. Nothing was added.
            ServerError: as for the class. Some may have been added: `ids` says which.
        """
        self.check_free()
        self.check(vectors, "new vectors")
        if ids is None:
            ids = self._items.next_id() + np.arange(len(vectors), dtype=np.int64)
        else:
            ids = self._checked_ids(ids, len(vectors), self._items.there(np.asarray(ids, np.int64)))
        self._ingest.send(vectors, ids, metadata, np.ones(len(vectors), bool))

    def remove(self, ids: np.ndarray) -> None:
        self.check_free()
        ids = np.asarray(ids, np.int64)
        missing = ids[~np.isin(ids, self._items.there(ids))]
        if len(missing):
            raise InputError(f"There is no item with the id {missing[0]} in this index: nothing was removed.")
        for start in range(0, len(ids), BATCH_KEYS):
            self._items.write("delete", filter=has_key(ids[start : start + BATCH_KEYS]))

    def save(self, folder: str | os.PathLike) -> None:
        """Write where the collection is, and how large: the items themselves stay on the server, the token nowhere."""
        config = {
            "index": self.name,
            "options": self.options_to_save(self.options),
            "width": self.width,
            "representation": self.representation,
            "items": len(self),
        }
        with saved(folder) as scratch:
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

    def _search(self, queries: np.ndarray, k: int, filters: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Scores and ids of up to `k` items for each of a few queries, in order."""
        queries = self._kept(queries)
        options = {"data": [self._stored.sent(query) for query in queries], "limit": k}
        found: list[tuple[list[float], list[int]]] = [([], []) for _ in queries]
        for expression in filters:
            results = self._items.read("search", filter=expression, search_params=self._search_params(k), **options)
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


def _connection(
    address: str | None, token: str | None, folder: str | os.PathLike | None, timeout: float
) -> Connection:
    """A connection to the server that the caller names, to that of `$MILVUS_URI`, or to one that is started here."""
    if address is None and folder is None:
        address = os.environ.get(URI_VARIABLE) or None
    if address is not None:
        return Connection(address, token, timeout)
    return Connection(local_address(folder), token or "", timeout)


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
