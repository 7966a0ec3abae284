"""Inverted lists, product quantisation and neighbour graphs, by faiss."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cmr_hub.errors import InputError
from cmr_hub.indexes import register_index
from cmr_hub.utils.extras import require

from .base import NOT_FOUND, Filter, Index, check_k, load_data

if TYPE_CHECKING:
    import faiss
else:
    faiss = require("faiss", "faiss", "The index 'faiss'")

LEAST_A_LIST = 39  # faiss warns of k-means on fewer points a centroid
TRAINING_A_LIST = 64  # more points find hardly better centroids
LEAST_TRAINING = 1 << 16  # 256 points for each of the 256 centroids of a product quantiser
# The largest lists, links and bits of a factory string. Other numbers are dimensions, or parts of them.
MAX_NUMBERS = {"IVF": 1 << 20, "HNSW": 256, "NSG": 256, "x": 16}
OUTGROWN = 4  # so many times the items that its lists were counted for


class TooFewError(InputError):
    """Fewer vectors than the clusters that a factory asks for."""


@register_index("faiss")
class FaissIndex(Index):
    """What a factory string of faiss describes, by inner product.

    The vectors stay where they were given, which may be an array that is mapped from a file, beside what faiss makes
    of them: `Flat` and `HNSW` copy them, `PQ16` takes 16 bytes an item, and each item's id another 8. faiss' own files
    are neither written nor read.

    Added items go where the training put the lists; removed ones leave them, or a graph (HNSW) that is built anew.
    Equal scores are ordered by id. A search that is confined looks at no more lists than another, and may find fewer
    than `k`.

    Args:
        vectors, ids: as for [`Index`].
        factory: of faiss: "IVF1024,Flat", "IVF1024,PQ16", "OPQ16,IVF1024,PQ16", "HNSW32", … By default inverted lists
            of whole vectors, about 4 sqrt(n) of them, built anew when there are four times the items.
        nprobe: lists looked at (IVF); by default one in 64, and eight at least.
        ef_search: how many candidates a graph keeps while it is walked (HNSW); by default as faiss has it.
        refine: 0 for scores as faiss estimates them; of m, the best m * k are ranked by their true cosines.
        seed: of the sample that is trained on, and of its order, from which k-means starts.

    Raises:
        InputError: a factory that faiss does not know or that has no inner product, options that do not fit it, or
            fewer vectors than it has clusters.

    Example:
    ```python
    >>> import numpy as np
    >>> vectors = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
    >>> vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    >>> index = FaissIndex(vectors, factory="IVF8,Flat", nprobe=4)
    >>> index.search(vectors[7:8], k=1)[1].tolist()
    [[7]]
    ```
    """

    approximate = True

    def __init__(
        self,
        vectors: np.ndarray,
        ids: np.ndarray | None = None,
        *,
        factory: str | None = None,
        nprobe: int | None = None,
        ef_search: int | None = None,
        refine: int = 0,
        seed: int = 0,
    ):
        if not isinstance(refine, int):
            raise InputError(f"refine is {refine!r}; it is a whole number from 0.")
        _check_least(nprobe=(nprobe, 1), ef_search=(ef_search, 1), refine=(refine, 0))
        _check_factory(factory, vectors.shape[1])
        self.factory, self.nprobe, self.ef_search = factory, nprobe, ef_search
        self.refine, self.seed = refine, seed
        self._made: Any = None  # a faiss.Index, once there are vectors
        self._counted_for = 0
        super().__init__(vectors, ids)

    @property
    def options(self) -> dict[str, Any]:
        return {
            "factory": self.factory,
            "nprobe": self.nprobe,
            "ef_search": self.ef_search,
            "refine": self.refine,
            "seed": self.seed,
        }

    @classmethod
    def from_saved(cls, folder: str | os.PathLike, options: dict[str, Any]) -> Self:
        """Build from what [`save`] wrote; where so many were removed that the factory cannot be trained, by default's.

        Raises:
            CheckpointError: the data are missing or corrupt.
        """
        data = load_data(folder)
        try:
            return cls(data["vectors"], data.get("ids"), **options)
        except TooFewError:
            fitting = {"factory": None, "nprobe": None, "ef_search": None}
            return cls(data["vectors"], data.get("ids"), **{**options, **fitting})

    def search(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
        self.check(queries)
        check_k(k)
        scores, ids = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), NOT_FOUND)
        candidates = min(k * max(1, self.refine), len(self))
        if not len(queries) or not candidates:
            return scores, ids
        queries = np.ascontiguousarray(queries, np.float32)
        if filter is None:
            near, found = self._made.search(queries, candidates)
        else:
            chosen = self._parameters(np.asarray(filter.ids, np.int64))
            with _refusals(f"faiss cannot confine a search in {self.factory!r}; with IVF1 before the codes it can"):
                near, found = self._made.search(queries, candidates, params=chosen)
        near[found == NOT_FOUND] = -np.inf
        if self.refine:
            self._rescore(queries, near, found)
        order = np.lexsort((found, -near), axis=1)[:, :k]
        scores[:, : order.shape[1]] = np.take_along_axis(near, order, axis=1)
        ids[:, : order.shape[1]] = np.take_along_axis(found, order, axis=1)
        return scores, ids

    def widen(self, *, nprobe: int | None = None, ef_search: int | None = None) -> None:
        """Look at more from now on, or at less: better recall for more time, without building anything.

        Raises:
            InputError: options out of range, or that do not fit the factory.
        """
        _check_least(nprobe=(nprobe, 1), ef_search=(ef_search, 1))
        self._set(self._made, nprobe, ef_search)
        self.nprobe, self.ef_search = nprobe or self.nprobe, ef_search or self.ef_search

    def add(self, vectors: np.ndarray, ids: np.ndarray | None = None) -> None:
        """Add `m` items, see [`Index.add`]; the first ones of an empty index train it.

        Raises:
            InputError: also where these are too few to train it. Nothing was added.
        """
        self.check_free()
        self.check(vectors, "new vectors")
        if len(vectors) and not self._made.is_trained:
            self._train(self._made, self._kept(vectors))
        super().add(vectors, ids)

    def _build(self) -> None:
        """Bring faiss up to what is kept: train it, forget what was removed, add what is new."""
        if self._made is None or (self.factory is None and len(self) > OUTGROWN * self._counted_for):
            self._made, self._counted_for = self._make(self.factory or default_factory(len(self))), len(self)
            self._held = np.empty(0, np.int64)
        if len(self) and not self._made.is_trained:
            self._train(self._made, self.vectors)
        ids = self.ids
        self._order = None if self._ids is None else np.argsort(ids)
        try:
            if len(ids) < len(self._held):
                self._made.remove_ids(self._held[~np.isin(self._held, ids)])
            self._append(ids, len(ids) - self._made.ntotal)
        except RuntimeError:  # a graph; what was trained stays
            with _refusals(f"faiss cannot build {self.factory!r} with ids"):
                self._made.reset()
                self._append(ids, len(ids))
        self._held = ids

    def _append(self, ids: np.ndarray, count: int) -> None:
        if count:
            self._made.add_with_ids(self.vectors[-count:], ids[-count:])

    def _make(self, factory: str) -> faiss.Index:
        """An untrained index that keeps ids."""
        with _refusals(f"faiss does not know {factory!r} for vectors of width {self.width}"):
            made = faiss.index_factory(self.width, factory, faiss.METRIC_INNER_PRODUCT)
        if made.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise InputError(f"{factory!r} ranks by distances in faiss, and an index here by inner products.")
        if isinstance(made, faiss.IndexRefine):
            raise InputError(f"{factory!r} refines by itself: leave that out, and say refine=10 for it.")
        core = _core(made)
        if isinstance(core, faiss.IndexIVF) and self.nprobe is None:
            core.nprobe = max(8, core.nlist // 64)
        if hasattr(core, "do_polysemous_training"):
            core.do_polysemous_training = False  # takes most of the time, for a kind of search that is not done here
        self._set(made, self.nprobe, self.ef_search)
        return made if isinstance(core, faiss.IndexIVF) else faiss.IndexIDMap(made)

    def _set(self, made: faiss.Index, nprobe: int | None, ef_search: int | None) -> None:
        if self.factory is None and not isinstance(_core(made), faiss.IndexIVF):
            return  # too few items yet for the lists that nprobe is of
        for option, value, parameter in (("nprobe", nprobe, "nprobe"), ("ef_search", ef_search, "efSearch")):
            if value is not None:
                with _refusals(f"{option} does not apply to {self.factory or 'inverted lists'}"):
                    faiss.ParameterSpace().set_index_parameter(made, parameter, value)

    def _train(self, made: faiss.Index, vectors: np.ndarray) -> None:
        """Train on a bounded sample.

        Raises:
            TooFewError: there are fewer vectors than clusters.
        """
        core = _core(made)
        size = max(LEAST_TRAINING, TRAINING_A_LIST * (core.nlist if isinstance(core, faiss.IndexIVF) else 0))
        sample = np.random.default_rng(self.seed).choice(len(vectors), min(size, len(vectors)), replace=False)
        with _refusals(
            f"{len(vectors):,} vectors cannot train {self.factory!r}; {default_factory(len(vectors))!r} fits so many",
            TooFewError,
        ):
            made.train(vectors[sample])

    def _parameters(self, ids: np.ndarray) -> faiss.SearchParameters:
        """Settings as they are, confined to some ids."""
        chosen = faiss.IDSelectorBatch(ids)
        core = _core(self._made)
        if isinstance(core, faiss.IndexIVF):
            found = faiss.SearchParametersIVF(sel=chosen, nprobe=core.nprobe)
        elif isinstance(core, faiss.IndexHNSW):
            found = faiss.SearchParametersHNSW(sel=chosen, efSearch=core.hnsw.efSearch)
        else:
            found = faiss.SearchParameters(sel=chosen)
        inner = faiss.downcast_index(self._made.index) if isinstance(self._made, faiss.IndexIDMap) else self._made
        turned = isinstance(inner, faiss.IndexPreTransform)
        return faiss.SearchParametersPreTransform(index_params=found) if turned else found

    def _rescore(self, queries: np.ndarray, scores: np.ndarray, ids: np.ndarray) -> None:
        """Put true inner products in the place of estimates."""
        for query, score, some in zip(queries, scores, ids, strict=True):
            there = some != NOT_FOUND
            score[there] = self.vectors[self._rows_of(some[there])] @ query

    def _rows_of(self, ids: np.ndarray) -> np.ndarray:
        if self._order is None or self._ids is None:
            return ids
        return self._order[np.searchsorted(self._ids, ids, sorter=self._order)]


def default_factory(items: int) -> str:
    """The factory string for so many items: inverted lists of whole vectors, or too few items to divide.

    Example:
    ```python
    >>> default_factory(1_000), default_factory(1_000_000)
    ('Flat', 'IVF4096,Flat')
    ```
    """
    lists = 1 << round(math.log2(4 * math.sqrt(max(items, 1))))  # faiss' own advice: 4 to 16 times the root
    return f"IVF{lists},Flat" if items >= LEAST_A_LIST * lists else "Flat"


def _check_factory(factory: str | None, width: int) -> None:
    """Refuse numbers in a factory string that would take gigabytes whatever the vectors are.

    Raises:
        InputError: names the part.
    """
    for kind, number in re.findall(r"([A-Za-z]*)([0-9]+)", factory or ""):
        most = MAX_NUMBERS.get(kind, max(width, 1024))
        if len(number) > 9 or int(number) > most:
            raise InputError(f"{kind}{number:.20} in the factory {factory!r:.100} is more than {kind}{most}.")


def _core(made: faiss.Index) -> faiss.Index:
    """What lies behind ids and rotations."""
    wrapped = isinstance(made, faiss.IndexIDMap | faiss.IndexPreTransform)
    return _core(faiss.downcast_index(made.index)) if wrapped else made


def _check_least(**options: tuple[int | None, int]) -> None:
    """Refuse values below their least."""
    for option, (value, least) in options.items():
        if value is not None and value < least:
            raise InputError(f"{option} is {value}; it is at least {least}.")


@contextmanager
def _refusals(message: str, kind: type[InputError] = InputError) -> Iterator[None]:
    """Say of an error of faiss what it was about; faiss' own words, without their place in its source, come last."""
    try:
        yield
    except RuntimeError as error:
        raise kind(f"{message}. faiss says: {re.sub('(?s)^Error in .* at .*?:[0-9]+: ', '', str(error))}") from error
