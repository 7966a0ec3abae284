"""A gallery whose items are on a Milvus server and nowhere else."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import PIL.Image
import xxhash
from datasets import Dataset

from cmr_hub.data.columns import COLUMNS, Modality
from cmr_hub.data.image_cells import ImageFiles
from cmr_hub.data.standard_columns import standardize
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.indexes import Filter
from cmr_hub.utils.extras import require
from cmr_hub.utils.images import load_image

from .gallery_embedding import columns_of, embed_at_once
from .item_metadata import ItemMetadata
from .items import Description, Items, Vectors
from .queries import Query, read_queries
from .retriever import Retriever
from .search import Hit, Searcher

if TYPE_CHECKING:
    from cmr_hub.indexes.milvus import MilvusIndex

BATCH = 1000  # items that are embedded and sent at once
REMEMBERED = 10_000  # descriptions of items that are not asked for again


class RemoteVectors:
    """Embeddings on the server, read when they are asked for by number."""

    def __init__(self, index: MilvusIndex):
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """`(d,)` of one number, `(n, d)` of several."""
        found = self.index.vectors_of(np.atleast_1d(rows))
        return found if np.ndim(rows) else found[0]


class RemoteItems:
    """Items on the server, by the index's numbers; see [`~cmr_hub.retrieval.items.SearchedItems`].

    Args:
        index: holds their metadata.
        image_root: the folder in which their image files are on this machine; None where they are not.
    """

    def __init__(self, index: MilvusIndex, image_root: str | os.PathLike | None = None):
        self.index = index
        self.files = None if image_root is None else ImageFiles.of_folder(image_root)
        self._known: OrderedDict[int, Mapping[str, Any]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.index)

    def position(self, item: str) -> int:
        """The number of an item's id.

        Raises:
            InputError: there is no such item.
        """
        found = self.index.ids_of([item])
        if item not in found:
            raise InputError(f"There is no item {item!r} in the collection {self.index.collection!r}.")
        return found[item]

    def describe(self, positions: Sequence[int]) -> list[Description]:
        """Ids, texts and names of classes of items."""
        return [
            Description(record["id"], tuple(record["text"].split("\n")) if record["text"] else (), _labels(record))
            for record in self._records(positions)
        ]

    def image(self, position: int) -> PIL.Image.Image | None:
        """The image of an item, where its file is in `image_root`; otherwise None.

        Raises:
            InputError: the file cannot be used.
        """
        (record,) = self._records([position])
        if self.files is None or not record["image"]:
            return None
        try:
            cell = self.files.check({"bytes": None, "path": record["image"]})
            return None if cell is None else load_image(cell, to_rgb=False)
        except InputError as error:
            raise InputError(f"Item {record['id']!r}: {error}") from error

    def share_a_class(self, first: int, second: int) -> bool | None:
        """Whether two items have a class in common; None where neither has one."""
        one, other = map(_labels, self._records([first, second]))
        return not set(one).isdisjoint(other) if one or other else None

    def share_classes(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Which items have a class in common with others: `(n,)` and `(m,)` numbers, -1 for none, to `(n, m)` bool."""
        one, other = (self._class_sets(numbers) for numbers in (rows, others))
        return np.array([[not first.isdisjoint(second) for second in other] for first in one])

    def sample(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Numbers of up to `count` items, in random order."""
        return random.permutation(self.index.some_ids(count))

    def filter(self, label: str | Sequence[str]) -> Filter:
        """Confine a search to the items of one or several classes.

        Raises:
            InputError: none is named.
        """
        wanted = (label,) if isinstance(label, str) else tuple(label)
        if not wanted:
            raise InputError("No class was named: search without label.")
        return Filter(np.empty(0, np.int64), wanted)

    def forget(self) -> None:
        """Ask the server again, as items have changed."""
        with self._lock:
            self._known.clear()

    def _class_sets(self, numbers: np.ndarray) -> list[set[str]]:
        known = numbers[numbers >= 0].tolist()
        labels = dict(zip(known, map(_labels, self._records(known)), strict=True))
        return [set(labels.get(number, ())) for number in numbers.tolist()]

    def _records(self, numbers: Sequence[int]) -> list[Mapping[str, Any]]:
        """Metadata of items; those that were asked for lately are remembered."""
        with self._lock:
            known = {number: self._known[number] for number in numbers if number in self._known}
        missing = [number for number in dict.fromkeys(numbers) if number not in known]
        known |= dict(zip(missing, self.index.metadata(missing), strict=True))
        with self._lock:
            self._known.update(known)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return [known[number] for number in numbers]


class RemoteGallery:
    """A gallery in Milvus, searched and filled without a copy of its items on this machine.

    [`Gallery.connect`](cmr_hub.Gallery.connect) makes one. Several machines may add items at once: an item's number on
    the server is made of its id, so that whoever sends it, and however often, it is there once.

    Attributes:
        retriever: the checkpoint that embeds items and queries.
        indexes: modality -> its collection.
    """

    def __init__(
        self,
        retriever: Retriever,
        indexes: Mapping[Modality, MilvusIndex],
        image_root: str | os.PathLike | None = None,
    ):
        self.retriever, self.indexes = retriever, dict(indexes)
        self._items = RemoteItems(next(iter(self.indexes.values())), image_root)
        embeds: dict[Modality, Vectors] = {modality: RemoteVectors(index) for modality, index in indexes.items()}
        self._searcher = Searcher(self._items, retriever, embeds, {}, self.indexes)

    @classmethod
    def connect(
        cls,
        collection: str,
        retriever: Retriever,
        *,
        image_root: str | os.PathLike | None = None,
        create: bool = False,
        modalities: Sequence[Modality] = tuple(COLUMNS),
        **options: Any,
    ) -> RemoteGallery:
        """Open a gallery on a server; see `Gallery.connect`."""
        require("pymilvus", "milvus", "A remote gallery")
        from cmr_hub.indexes.milvus import MilvusIndex

        nothing = retriever.encode_texts([])
        indexes: dict[Modality, MilvusIndex] = {}
        for modality in modalities:
            own = MilvusIndex.options_for({**options, "collection": collection}, collection, modality)
            try:
                indexes[modality] = MilvusIndex(None, **own)
            except CheckpointError:
                if create:
                    indexes[modality] = MilvusIndex(nothing, **own)
        if not indexes:
            raise CheckpointError(
                f"There is no gallery {collection!r} on the server: create=True makes one, and an index 'milvus' of a "
                "gallery with this name too."
            )
        for index in indexes.values():
            if (index.representation, index.width) != (retriever.model.representation, nothing.shape[1]):
                raise InputError(
                    f"The collection {index.collection!r} holds {index.representation} embeddings of width "
                    f"{index.width}, and the checkpoint {retriever.name!r} gives {retriever.model.representation} "
                    f"ones of width {nothing.shape[1]}: it was made by another checkpoint."
                )
        return cls(retriever, indexes, image_root)

    def __len__(self) -> int:
        """How many items there are, as this object knows it: it counts when it is made and after it has written."""
        return len(self._items)

    def __repr__(self) -> str:
        index = next(iter(self.indexes.values()))
        return f"RemoteGallery({index.collection!r} at {index.address!r}, items={len(self)})"

    def search(
        self,
        query: Query | Sequence[Query] | None = None,
        *,
        text: Any | None = None,
        image: Any | None = None,
        item: Any | None = None,
        target: Modality = "image",
        k: int = 10,
        source: Modality | None = None,
        label: str | Sequence[str] | None = None,
        rerank: int = 0,
        focus: float | None = None,
        min_score: float | Literal["auto"] | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """The items nearest to one query, or to each of several; as [`Gallery.search`](cmr_hub.Gallery.search) does.

        Hits have an image where `image_root` has its file. The server does not know which classes there are: a label
        that no item has finds nothing.

        Raises:
            InputError: as for a gallery.
            ServerError: the server cannot be reached, does not answer in time, or refuses.
        """
        queries = read_queries(query, text=text, image=image, item=item, source=source)
        return self._searcher.search(queries, target, k, label, rerank, focus, min_score)

    def notes(self, query: Query) -> list[str]:
        """What speaks against the hits of a query, as sentences."""
        return self._searcher.notes(query)

    def add(self, dataset: Dataset, *, show_progress: bool = True) -> int:
        """Embed items and send them, in place of those that have the same ids.

        Interrupted, it is called again with the same data set.

        Args:
            dataset: as for `Gallery.from_dataset`.
            show_progress: show a bar for each thousand of items.

        Returns:
            How many items were sent.

        Raises:
            InputError: an item cannot be used, or lacks what the checkpoint needs; those before it were sent.
            ServerError: as for a search.
        """
        dataset = standardize(dataset)
        missing = self.indexes.keys() - columns_of(dataset, self.retriever).keys()
        if missing:
            raise InputError(
                f"The items have no {sorted(missing)[0]}s, and the gallery on the server is searched by them."
            )
        for start in range(0, len(dataset), BATCH):
            block = dataset.select(range(start, min(start + BATCH, len(dataset))))
            embeds, _ = embed_at_once(
                block, self.retriever, cache=False, show_progress=show_progress, keep_real_valued=False
            )
            items = Items(block)
            for modality, index in self.indexes.items():
                index.put(embeds[modality], self._numbers(index, items.ids), ItemMetadata(items))
        self._items.forget()
        return len(dataset)

    def remove(self, items: Sequence[str]) -> None:
        """Remove items by their ids.

        Raises:
            InputError: one is not there; nothing was removed.
            ServerError: as for a search.
        """
        numbers = {modality: index.ids_of(items) for modality, index in self.indexes.items()}
        for found in numbers.values():
            unknown = [item for item in items if item not in found]
            if unknown:
                raise InputError(f"There is no item {unknown[0]!r} in this gallery: nothing was removed.")
        for modality, index in self.indexes.items():
            index.remove(np.array([numbers[modality][item] for item in items], np.int64))
        self._items.forget()

    @staticmethod
    def _numbers(index: MilvusIndex, items: Sequence[str]) -> np.ndarray:
        """Numbers of items on the server: those that they have, or new ones made of their ids."""
        known = index.ids_of(items)
        return np.array([known.get(item, number_of(item)) for item in items], np.int64)


def number_of(item: str) -> int:
    """The number of a new item on a server, the same on every machine: 62 bits of a digest of its id.

    Example:
    ```python
    >>> number_of("beach.jpg") == number_of("beach.jpg") != number_of("sea.jpg")
    True
    ```
    """
    return xxhash.xxh3_64_intdigest(item.encode()) >> 2


def _labels(record: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(record["labels"])
