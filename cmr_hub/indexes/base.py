"""What every index is: embeddings in, the nearest of them out."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from safetensors.numpy import save_file

from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.modeling.code_parts import CodeParts
from cmr_hub.modeling.embeddings import EMBEDDING_KINDS, EmbeddingKind, Representation, described, kind_of
from cmr_hub.utils.checkpoint_files import array_of, read_tensors
from cmr_hub.utils.checksums import saved
from cmr_hub.utils.deprecation import RenamedAttribute, renamed_arguments, renamed_module_attributes

CONFIG_NAME = "index_config.json"
DATA_NAME = "index.safetensors"
NOT_FOUND = -1  # the id, beside a score of -inf, that fills up a result where an index finds fewer than asked


if not TYPE_CHECKING:  # for which these names do not exist
    __getattr__ = renamed_module_attributes(__name__, {"Among": "Filter"})


@dataclass(frozen=True)
class Filter:
    """What a search is confined to.

    Attributes:
        ids: `(m,)` int64 ids that may be found.
        labels: names of classes whose items these are, for an index that stores labels itself; empty where the ids
            were chosen otherwise.
    """

    ids: np.ndarray
    labels: tuple[str, ...] = ()


class Index(ABC):
    """The nearest among items by inner product, or of binary codes by Hamming distance.

    An index is made of `n` embeddings, each with an id. It is saved as data and settings, never as a library's own
    file, and built again when it is loaded.

    Args:
        vectors: `(n, d)` float32 rows of unit length, or `(n, bits // 8)` uint8 codes; `n` may be 0. They are kept,
            not copied, where the index needs them as they are.
        ids: `(n,)` int64, all different and none negative; by default the rows' numbers. An id, once removed, may be
            added again.

    Attributes:
        name: as `INDEXES` has it.
        representation: what it searches: "real-valued" vectors or "binary" codes.
        approximate: whether it may miss one of the nearest, or gives scores that are estimates.
        wants_metadata: whether it stores what an item is beside its embedding, and takes it as `metadata`; see
            [`~cmr_hub.retrieval.item_metadata.ItemMetadata`].
        location_options: options that say where the index connects to or writes. They are never taken from a file,
            which anyone may have written.
        secret_options: options with credentials. They are never written to a file, and never taken from one.
        owner: the gallery that it is a part of, and without which its items do not change; None where it is in none.
        vectors: what it keeps of each item: the embeddings, unless a subclass says otherwise.
        width: of an embedding, as it was given.

    Raises:
        InputError: codes are given to an index of real-valued vectors, or the other way round; ids that are not all
            different, or as many as there are vectors.
    """

    name: ClassVar[str]
    representation: Representation = "real-valued"
    approximate: bool = False
    wants_metadata: ClassVar[bool] = False
    location_options: ClassVar[tuple[str, ...]] = ()
    secret_options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, vectors: np.ndarray, ids: np.ndarray | None = None):
        self._check_kind(vectors)
        self.width = vectors.shape[1]
        self.vectors = self._kept(vectors)
        # Most galleries number their rows, and numbers from 0 need no memory.
        self._ids = None if ids is None else self._checked_ids(ids, len(vectors), np.empty(0, np.int64))
        self._build()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "search" in cls.__dict__:
            cls.search = renamed_arguments(among="filter")(cls.search)  # type: ignore[method-assign]

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def kind(self) -> EmbeddingKind:
        """What it searches; `representation` is its name."""
        return EMBEDDING_KINDS[self.representation]

    @property
    def ids(self) -> np.ndarray:
        """`(n,)` int64, in the order in which items were added."""
        return np.arange(len(self), dtype=np.int64) if self._ids is None else self._ids

    @property
    def options(self) -> dict[str, Any]:
        """What it was made with beside vectors and ids, as JSON has it: arguments of the class."""
        return {}

    lookup = RenamedAttribute("range_search")
    owner: str | None = None

    @classmethod
    def options_for(cls, options: Mapping[str, Any], gallery: str, modality: str) -> dict[str, Any]:
        """What the index of one side of a gallery is made with: for all sides the same, unless each needs a name."""
        return dict(options)

    @classmethod
    def options_to_save(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options as a file may have them: without credentials."""
        return {name: value for name, value in options.items() if name not in cls.secret_options}

    @classmethod
    def options_to_open(cls, saved: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The options to open a saved index with.

        Args:
            saved: options in a file.
            given: options of the caller. Where they only say where the index is or with which credentials it is
                opened, the others are the saved ones; otherwise the given options replace all saved ones.

        Raises:
            InputError: the file names a place that the caller has not confirmed.
        """
        own = {*cls.location_options, *cls.secret_options}
        given = None if given is None else dict(given)
        replaces = given is not None and not (given and own.issuperset(given))
        rest = {} if replaces else {name: value for name, value in saved.items() if name not in own}
        return {**rest, **(given or {})}

    @abstractmethod
    def search(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` items for each query.

        Args:
            queries: `(q, d)`, of the kind that the index was built from.
            k: from 1.
            filter: what may be found; by default everything.

        Returns:
            Cosines `(q, k)` float32, best first, and ids `(q, k)` int64. Of equal cosines an exact index gives the
            item first that was added first. Where fewer than `k` are found, -inf and -1 fill the rest.

        Raises:
            InputError: queries that cannot be compared with the vectors, or a `k` below 1.
        """

    def search_parts(
        self, queries: np.ndarray, k: int, parts: CodeParts, filter: Filter | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` codes for each query by the scores of two parts, of indexes of codes that support it.

        Args:
            queries: `(q, bits // 8)` uint8 codes.
            k: from 1.
            parts: the parts of codes and their weights.
            filter: as for [`search`].

        Returns:
            As [`search`], with the scores of `parts`.

        Raises:
            InputError: the index does not support it, or as [`search`].
        """
        raise InputError(
            f"The index {self.name!r} compares whole codes, and a focus weighs their parts: use index='hamming', or "
            "leave the focus out."
        )

    def range_search(self, queries: np.ndarray, radius: int) -> list[np.ndarray]:
        """All items within a Hamming radius of each query, of indexes of codes that support it.

        Args:
            queries: `(q, bits // 8)` uint8 codes.
            radius: largest distance, from 0 (the same code).

        Returns:
            For each query the ids, int64: nearest first, equal distances in the order of the items; maybe none.

        Raises:
            InputError: the index does not support it, queries that cannot be compared, or a radius outside 0 to the
                code length.
        """
        raise InputError(
            f"Lookup by radius is for binary codes in a Hamming index, and this is the index {self.name!r} of "
            f"{self.kind.describe(self.width)}."
        )

    def add(self, vectors: np.ndarray, ids: np.ndarray | None = None) -> None:
        """Add `m` items, behind those that are there; many at once cost less than each by itself.

        Args:
            vectors: `(m, d)`, of the kind that the index was built from.
            ids: `(m,)` int64; by default numbers that go on after the largest id.

        Raises:
            InputError: another kind or width of vectors, ids that are taken, or an index of a gallery. Nothing was
                added.
        """
        self.check_free()
        self.check(vectors, "new vectors")
        before = self.ids
        if ids is None and (self._ids is not None or len(before) < 1 + max(before, default=-1)):
            ids = 1 + max(before, default=-1) + np.arange(len(vectors))
        if ids is not None:
            ids = np.concatenate([before, self._checked_ids(ids, len(vectors), before)])
        self.vectors = np.concatenate([self.vectors, self._kept(vectors)])
        self._ids = ids
        self._build()

    def remove(self, ids: np.ndarray) -> None:
        """Forget items.

        Raises:
            InputError: an id that is not there, or an index of a gallery. Nothing was removed.
        """
        self.check_free()
        ids = np.asarray(ids, np.int64)
        missing = ids[~np.isin(ids, self.ids)]
        if len(missing):
            raise InputError(f"There is no item with the id {missing[0]} in this index: nothing was removed.")
        stays = ~np.isin(self.ids, ids)
        self._ids = self.ids[stays]
        self.vectors = self.vectors[stays]
        self._build()

    def check_free(self) -> None:
        """Refuse to change an index whose items a gallery has too.

        Raises:
            InputError: it is a part of a gallery.
        """
        if self.owner is not None:
            raise InputError(
                f"This index is a part of the gallery {self.owner!r}, whose items would not change with it. Use "
                "Gallery.add and Gallery.remove, or make an index of your own: "
                f"{type(self).__name__}(gallery.embeds[…])."
            )

    def check(self, vectors: np.ndarray, what: str = "queries") -> None:
        """Refuse vectors that cannot be compared with those in the index.

        Raises:
            InputError: codes against real-valued vectors, or other lengths.
        """
        if (kind_of(vectors), vectors.shape[1]) != (self.kind, self.width):
            raise InputError(
                f"The {what} are {described(vectors)} and the gallery has {self.kind.describe(self.width)}: embed "
                "both with one checkpoint."
            )

    def save(self, folder: str | os.PathLike) -> None:
        """Write settings (JSON) and data (safetensors); an index saved there before survives a failure."""
        with saved(folder) as scratch:
            save_file(self._data(), scratch / DATA_NAME)
            config = {"index": self.name, "options": self.options_to_save(self.options), "width": self.width}
            (scratch / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n")

    @classmethod
    def from_saved(cls, folder: str | os.PathLike, options: dict[str, Any]) -> Self:
        """Build from what [`save`] wrote; [`~cmr_hub.indexes.load_index`] finds the class.

        Raises:
            CheckpointError: the data are missing or corrupt.
        """
        data = load_data(folder)
        return cls(data["vectors"], data.get("ids"), **options)

    def _data(self) -> dict[str, np.ndarray]:
        """What [`save`] writes: everything that the index cannot be built again without."""
        kept = {"vectors": np.ascontiguousarray(self.vectors)}
        return kept if self._ids is None else {**kept, "ids": self._ids}

    def _kept(self, vectors: np.ndarray) -> np.ndarray:
        """What is kept of `(n, width)` vectors, a row each."""
        return self.kind.as_stored(vectors)

    def _build(self) -> None:  # noqa: B027  most indexes search what they keep as it is
        """Make what is searched from what is kept; called whenever that has changed."""

    def _check_kind(self, vectors: np.ndarray) -> None:
        if kind_of(vectors) is not self.kind:
            raise InputError(
                f"{type(self).__name__} searches {self.kind.noun}, and these are {described(vectors)}: index='auto' "
                "takes one that fits."
            )

    def _ids_of(self, rows: np.ndarray) -> np.ndarray:
        """Ids of rows; a row of -1 stays."""
        if self._ids is None:
            return rows
        ids = np.full(rows.shape, NOT_FOUND, np.int64)
        ids[rows >= 0] = self._ids[rows[rows >= 0]]
        return ids

    def _allowed(self, filter: Filter | None) -> np.ndarray | None:
        """`(n,)` bool, which rows may be found; None for all."""
        return None if filter is None else np.isin(self.ids, filter.ids)

    @staticmethod
    def _checked_ids(ids: np.ndarray, count: int, taken: np.ndarray) -> np.ndarray:
        ids = np.asarray(ids, np.int64)
        if ids.shape != (count,):
            raise InputError(f"ids has the shape {ids.shape}, and there are {count} vectors: one id each.")
        if len(ids) and ids.min() < 0:
            raise InputError(f"An id is negative: {ids.min()}.")
        unique, counts = np.unique(ids, return_counts=True)
        twice = np.concatenate([unique[counts > 1], np.intersect1d(unique, taken)])
        if len(twice):
            raise InputError(f"The id {twice[0]} is given twice or is taken already: ids differ.")
        return ids


def check_k(k: int) -> None:
    """Refuse to look for less than one item.

    Raises:
        InputError: `k` is below 1.
    """
    if k < 1:
        raise InputError(f"k is {k}: ask for at least one item.")


def load_data(folder: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays that [`Index.save`] wrote: "vectors", and "ids" where they are not the numbers of the rows.

    Raises:
        CheckpointError: they are missing or corrupt, or no model gives such vectors.
    """
    path = Path(folder) / DATA_NAME
    try:
        arrays = read_tensors(path)
        vectors = array_of(arrays, "vectors", "fu", 2, path)
        if "ids" in arrays:
            array_of(arrays, "ids", "i", 1, path)
    except CheckpointError as error:
        raise CheckpointError(f"The index's data cannot be read: {error} Build it anew.") from error
    bad = kind_of(vectors).bad_rows(vectors)
    if len(bad):
        raise CheckpointError(f"Row {bad[0]} of the vectors in {path} is not of unit length. Build the index anew.")
    return arrays
