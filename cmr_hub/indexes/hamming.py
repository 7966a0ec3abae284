"""Exact search of packed codes by Hamming distance, and lookup of all that lie within a radius."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import numpy as np

from cmr_hub.errors import InputError
from cmr_hub.indexes import register_index
from cmr_hub.modeling.code_parts import CodeParts
from cmr_hub.modeling.codes import as_words

from .base import Filter, Index, check_k
from .nearest import padded

# The words of a query and of codes -> the first row of each block, and integers that grow with the distance.
Compare = Callable[[np.ndarray, np.ndarray], Iterator[tuple[int, np.ndarray]]]
Score = Callable[[np.ndarray], np.ndarray]
# The words of queries and of codes, and how many to find -> for each query the integers and rows of the nearest.
Find = Callable[[np.ndarray, np.ndarray, int], list[tuple[np.ndarray, np.ndarray]]]

BLOCK_ROWS = 1 << 15  # compared at once: words, differences and distances stay in a core's cache
FAISS_MEMORY = 1 << 26  # bytes that faiss may take for a search; it keeps `k` rows for each distance and query


@register_index("hamming")
class HammingIndex(Index):
    """Every code is compared; exact on ties. where faiss is installed, it compares, up to ten times as fast.

    Codes are coarse: many items share a distance. Equal distances keep the rows' order here, and
    [`distance_counts`] tells how many share each.

    Example:
    ```python
    >>> import numpy as np
    >>> index = HammingIndex(np.array([[0b1111], [0b1110], [0b0000]], np.uint8))
    >>> cosines, rows = index.search(np.array([[0b1111]], np.uint8), k=2)
    >>> rows.tolist(), cosines.tolist(), index.distances(cosines).tolist()
    ([[0, 1]], [[1.0, 0.75]], [[0, 1]])
    >>> [found.tolist() for found in index.range_search(np.array([[0b0001]], np.uint8), radius=1)]
    [[2]]
    ```
    """

    representation = "binary"

    def _build(self) -> None:
        self.words = as_words(self.vectors)

    @property
    def bits(self) -> int:
        """Code length."""
        return 8 * self.width

    def search(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The nearest `k` codes of each query; see [`Index.search`].

        The cosine of two codes, as vectors of -1 and +1, is 1 - 2 distance / bits.
        """
        return self._search(queries, k, filter, self._find, lambda near: 1 - 2 / self.bits * near)

    def search_parts(
        self, queries: np.ndarray, k: int, parts: CodeParts, filter: Filter | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` codes of each query by the scores of two parts; see [`Index.search_parts`]."""
        mask = as_words(parts.mask[None])[0]

        def ranked(query: np.ndarray, codes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
            of_class = self._blocks(query, codes, mask)
            for (start, distance), (_, class_distance) in zip(self._blocks(query, codes), of_class, strict=True):
                yield start, parts.ranks(class_distance, distance)

        def find(queries: np.ndarray, codes: np.ndarray, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
            return [_nearest(ranked(query, codes), k) for query in queries]

        return self._search(queries, k, filter, find, lambda near: parts.scores[near])

    def distances(self, cosines: np.ndarray) -> np.ndarray:
        """The Hamming distances, int64, that cosines from [`search`] stand for."""
        return np.rint((1 - cosines) * (self.bits / 2)).astype(np.int64)

    def range_search(self, queries: np.ndarray, radius: int) -> list[np.ndarray]:
        """All items within a Hamming radius of each query (hash lookup); see [`Index.range_search`]."""
        self.check(queries)
        if not 0 <= radius <= self.bits:
            raise InputError(f"A radius lies between 0 and the code length, {self.bits}; it is {radius}.")
        found = _within_by_faiss if _faiss() else self._within
        return [self._ids_of(found(query, self.words, radius)) for query in as_words(queries)]

    def distance_counts(self, queries: np.ndarray) -> np.ndarray:
        """How many rows lie at each distance from each query, `(q, bits + 1)` int64: above one they are tied."""
        self.check(queries)
        counts = np.zeros((len(queries), self.bits + 1), np.int64)
        for count, query in zip(counts, as_words(queries), strict=True):
            for _, distance in self._blocks(query, self.words):
                count += np.bincount(distance, minlength=self.bits + 1)
        return counts

    def _search(
        self, queries: np.ndarray, k: int, filter: Filter | None, find: Find, score: Score
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and ids of the `k` nearest by whatever integers two codes are compared by."""
        self.check(queries)
        check_k(k)
        allowed, words = self._allowed(filter), self.words
        if allowed is not None:
            words = words[allowed]
        found = find(as_words(queries), words, k)
        scores, rows = padded([score(near) for near, _ in found], [rows for _, rows in found], k)
        if allowed is not None:
            rows[rows >= 0] = np.flatnonzero(allowed)[rows[rows >= 0]]
        return scores, self._ids_of(rows)

    def _find(self, queries: np.ndarray, codes: np.ndarray, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Distances and rows of the `k` nearest codes of each query, all by their words."""
        k = min(k, len(codes))
        at_once = FAISS_MEMORY // (8 * max(k, 1) * (self.bits + 1))  # queries
        if not (_faiss() and k and at_once):
            return [_nearest(self._blocks(query, codes), k) for query in queries]
        return [
            found
            for start in range(0, len(queries), at_once)
            for found in _nearest_by_faiss(queries[start : start + at_once], codes, k)
        ]

    def _within(self, query: np.ndarray, codes: np.ndarray, radius: int) -> np.ndarray:
        found = []
        for start, distance in self._blocks(query, codes):
            chosen = np.flatnonzero(distance <= radius)
            found.append((distance[chosen], start + chosen))
        return _merge(found, len(codes))[1]

    @staticmethod
    def _blocks(
        query: np.ndarray, codes: np.ndarray, mask: np.ndarray | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The first row of each block and the distances of its rows, which the next block overwrites.

        Of a mask, `(words,)`, only the bits that are set in it count.
        """
        size, words = min(BLOCK_ROWS, len(codes)), len(query)
        # One long row beside one long row is what a processor is best at.
        repeated = query if words == 1 else np.tile(query, size)
        counted = mask if mask is None or words == 1 else np.tile(mask, size)
        differences, counts = np.empty(size * words, codes.dtype), np.empty(size * words, np.uint8)
        for start in range(0, len(codes), size or 1):
            block = codes[start : start + size].ravel()
            difference = np.bitwise_xor(block, repeated[: len(block)], out=differences[: len(block)])
            if counted is not None:
                difference &= counted[: len(block)]
            count = np.bitwise_count(difference, out=counts[: len(block)]).reshape(-1, words).T
            # Word by word, since a sum over so short an axis is slow; in 16 bits, since 256 does not fit a byte.
            yield start, count[0] if words == 1 else sum(count[1:], count[0].astype(np.uint16))


@cache
def _faiss() -> ModuleType | None:
    return import_module("faiss") if find_spec("faiss") else None


def _nearest_by_faiss(queries: np.ndarray, codes: np.ndarray, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Distances and rows of the `k` nearest, of at least as many codes; equal distances in the rows' order.

    Its other variant, a heap, does not keep that order. Nothing is copied.
    """
    faiss = _faiss()
    assert faiss
    distances, rows = faiss.knn_hamming(queries.view(np.uint8), codes.view(np.uint8), k, variant="mc")
    return zip(distances, rows, strict=True)


def _within_by_faiss(query: np.ndarray, codes: np.ndarray, radius: int) -> np.ndarray:
    """The rows within a radius, the nearest first, equal distances in the rows' order."""
    faiss = _faiss()
    assert faiss
    found = faiss.RangeSearchResult(1)
    asked, compared = query.view(np.uint8), codes.view(np.uint8)
    pointers = faiss.swig_ptr(asked), faiss.swig_ptr(compared)
    # Its radius is the first distance that is too far.
    faiss.hamming_range_search(*pointers, 1, len(codes), radius + 1, compared.shape[1], found)
    size = int(faiss.rev_swig_ptr(found.lims, 2)[1])
    rows, distances = faiss.rev_swig_ptr(found.labels, size), faiss.rev_swig_ptr(found.distances, size)
    return rows[np.lexsort((rows, distances))]


def _nearest(blocks: Iterable[tuple[int, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and rows of the `k` nearest, in order; `blocks` are first rows and the distances from there."""
    near, rows = np.empty(0, np.uint16), np.empty(0, np.int64)
    for start, distance in blocks:
        if len(near) < k:
            limit = np.searchsorted(np.bincount(distance).cumsum(), k)  # the k-th of this block, if it has so many
            chosen = np.flatnonzero(distance <= limit)
        elif distance.min() < near[-1]:
            chosen = np.flatnonzero(distance < near[-1])  # a tie is lost to the earlier row
        else:
            continue
        near, rows = _merge([(near, rows), (distance[chosen], start + chosen)], k)
    return near, rows


def _merge(found: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest of several finds, each distances and rows; the earlier find goes first among equals."""
    if not found:
        return np.empty(0, np.uint16), np.empty(0, np.int64)
    near, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(near, kind="stable")[:k]
    return near[order], rows[order]
