"""Who stands where in a ranking, a block of queries at a time.

Distances are integers in sort order: Hamming distances as they are, negative inner products by their float32 bits. A
sort key is one int64: distance (upper 32 bits), position in the gallery (31 bits), relevance (lowest bit). Keys of a
query are all different, so sorting, partitioning and counting them is exact about ties (equal distances stand in
gallery order) and carries the relevance along without a gather.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from scipy.sparse import csr_array, issparse
from tqdm.auto import tqdm

from cmr_hub.modeling.code_parts import CodeParts
from cmr_hub.modeling.codes import as_words
from cmr_hub.modeling.embeddings import BINARY, kind_of
from cmr_hub.modeling.parts import focused

T = TypeVar("T")
Distances = Callable[[slice], np.ndarray]  # queries -> (b, n) uint16 (Hamming) or int32 (inner product)

BLOCK_BYTES = 96 * 2**20  # of working memory for a block of queries, in each thread
SHARED_BYTES = 64 * 2**20  # up to here a whole distance matrix is kept, and serves both directions
_BYTES_A_PAIR = 24  # keys, distances, relevance, and what a metric derives from them
_COARSE_ITEMS = 8192  # in a larger gallery too many neighbours agree in the upper bits
_ROWS_IN_CACHE = 32  # converted at once
_TELLING = 16  # dimensions that mostly tell rows apart already
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class Ranking:
    """Queries against a gallery.

    Attributes:
        distances: from a slice of queries to their `(b, n)` distances; see [`distances_between`].
        query_labels: `(q,)` integers (relevant: equal) or `(q, classes)` multi-hot, float32 or of many classes sparse
            booleans (relevant: a shared label).
        gallery_labels: `(n,)` or `(n, classes)`, of the same kind.
        excluded: integer ids `(q,)` and `(n,)`: pairs of equal ids leave the ranking. They stand after everything
            else and count as not relevant.
    """

    distances: Distances
    query_labels: np.ndarray | csr_array
    gallery_labels: np.ndarray | csr_array
    excluded: tuple[np.ndarray, np.ndarray] | None = None

    def map(self, measure: Callable[[np.ndarray, np.ndarray], T], description: str) -> list[T]:
        """`measure(distance, relevant)` of every block of queries, in order; both arguments are `(b, n)`.

        Blocks are as large as [`BLOCK_BYTES`] allows.
        """
        queries, gallery = self.query_labels.shape[0], self.gallery_labels.shape[0]
        rows = max(1, min(BLOCK_BYTES // (_BYTES_A_PAIR * gallery), -(-queries // (2 * _THREADS))))
        blocks = [slice(start, start + rows) for start in range(0, queries, rows)]
        with ThreadPoolExecutor(_THREADS) as pool:  # numpy's sort and arithmetic run outside Python's lock
            measured = pool.map(lambda block: measure(*self._block(block)), blocks)
            return list(tqdm(measured, description, len(blocks), leave=False, delay=1, disable=None))

    def _block(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        distance = self.distances(rows)
        if self.query_labels.ndim == 1:
            relevant = self.query_labels[rows, None] == self.gallery_labels
        else:
            shared = self.query_labels[rows] @ self.gallery_labels.T
            relevant = (shared.toarray() if issparse(shared) else shared) > 0
        if self.excluded is not None:
            own = self.excluded[0][rows, None] == self.excluded[1]
            distance = np.where(own, np.iinfo(distance.dtype).max, distance)
            relevant &= ~own
        return distance, relevant


def sort_keys(distance: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """`(b, n)` int64 keys in gallery order; the smallest of a row has the first rank."""
    keys = np.left_shift(distance, 32, dtype=np.int64, order="C")
    keys |= np.arange(keys.shape[1]) << 1
    keys |= relevant
    return keys


def hits_of(keys: np.ndarray) -> np.ndarray:
    """Which of the keys belong to relevant items, as booleans of the same shape."""
    return (keys & 1).astype(bool)


def scores_of(keys: np.ndarray) -> np.ndarray:
    """Integers that are equal where distances are and grow with them; for Hamming codes the distances themselves."""
    return keys >> 32


def ranked_keys(distance: np.ndarray, relevant: np.ndarray, k: int | None = None) -> np.ndarray:
    """The keys of the first `k` ranks (all by default), in rank order: `(b, n)` -> `(b, k)` int64."""
    keys = sort_keys(distance, relevant)
    if k is not None and k < keys.shape[1]:
        keys.partition(k - 1, axis=1)
        keys = keys[:, :k].copy()
    keys.sort(axis=1)
    return keys


def ranked_hits(distance: np.ndarray, relevant: np.ndarray, k: int | None = None) -> np.ndarray:
    """Which of the first `k` ranks (all by default) are hits: `(b, n)` -> `(b, k)` booleans."""
    n = distance.shape[1]
    if distance.dtype == np.uint16 or n > _COARSE_ITEMS or (k is not None and k < n):
        return hits_of(ranked_keys(distance, relevant, k))
    # Half the time: 32 bits, the distance but for its last bit, which tells relevance. In rows where items that agree
    # in those 31 bits are not all relevant, or all not, that is too coarse to say who is first.
    coarse = np.bitwise_and(distance, -2, order="C")
    coarse |= relevant
    coarse.sort(axis=1)
    hits = hits_of(coarse)
    # There the first relevant one stands behind its twin without the last bit. (The twin may close the row above.)
    at = np.flatnonzero(hits)
    flat = coarse.ravel()
    unclear = np.unique(at[flat[at - 1] == flat[at] - 1] // n)
    if len(unclear):
        hits[unclear] = hits_of(ranked_keys(distance[unclear], relevant[unclear]))
    return hits


def first_hit_ranks(distance: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Rank, from 1, of the first relevant item of each query; counting needs no sort. `(b, n)` -> `(b,)`.

    Every query must have a relevant item.
    """
    keys = sort_keys(distance, relevant)
    best = np.where(relevant, keys, np.iinfo(np.int64).max).min(axis=1)
    return np.count_nonzero(keys < best[:, None], axis=1) + 1


def first_hit_ties(distance: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """How the first relevant item of each query is tied: `(b, n)` -> `(3, b)` numbers of items.

    Those nearer than it, those as near (itself among them), and the relevant ones of these. Every query must have a
    relevant item.
    """
    best = np.where(relevant, distance, np.iinfo(distance.dtype).max).min(axis=1, keepdims=True)
    groups = (distance < best, distance == best, (distance == best) & relevant)
    return np.stack([np.count_nonzero(group, axis=1) for group in groups])


def distances_between(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    """Distances of queries to a gallery, on demand.

    Args:
        queries: `(q, d)` float32 rows, nearest by inner product, or `(q, bits // 8)` uint8 packed codes, nearest by
            Hamming distance.
        gallery: `(n, d)` or `(n, bits // 8)` rows of the same kind.
    """
    return _hamming(queries, gallery) if kind_of(queries) is BINARY else _inner_product(queries, gallery)


def distances_both_ways(one: np.ndarray, other: np.ndarray) -> tuple[Distances, Distances]:
    """Distances of `one` to `other` and of `other` to `one`: a small matrix is computed once, then transposed."""
    if 4 * len(one) * len(other) > SHARED_BYTES:
        return distances_between(one, other), distances_between(other, one)
    distinct, row = _distinct_rows(one)
    matrix = distances_between(distinct, other)(slice(None))
    matrix = matrix if len(distinct) == len(one) else matrix[row]
    return (lambda rows: matrix[rows]), (lambda rows: matrix.T[rows])


def distances_with_focus(queries: np.ndarray, gallery: np.ndarray, class_dim: int, focus: float) -> Distances:
    """Distances by embeddings of two parts, which queries weigh, on demand.

    Args:
        queries: as for [`distances_between`].
        gallery: as for [`distances_between`].
        class_dim: width of the class part, which comes first; of codes its bits.
        focus: weight of the item part, from 0 to 1; the class part has the rest.
    """
    if kind_of(queries) is not BINARY:
        return distances_between(focused(queries, class_dim, focus), gallery)
    parts = CodeParts(class_dim, 8 * queries.shape[1] - class_dim, focus)
    whole = _hamming(queries, gallery)
    of_class = _hamming(queries & parts.mask, gallery & parts.mask)
    return lambda rows: parts.ranks(of_class(rows), whole(rows))


def reranked(distances: Distances, queries: np.ndarray, gallery: np.ndarray, first: int) -> Distances:
    """The `first` nearest of each query (ties in gallery order) by cosine, and all others behind them as they were.

    Args:
        distances: of `q` queries to `n` gallery items.
        queries: `(q, d)` float32 rows of unit length.
        gallery: `(n, d)` float32 rows of unit length.
        first: how many; of a smaller gallery all.

    Returns:
        Distances of another scale: a place among the first, or `first` plus the distance. Equal cosines share a place.
    """

    def places(rows: slice) -> np.ndarray:
        distance = distances(rows)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :first]
        similarity = np.einsum("qd,qnd->qn", queries[rows], gallery[nearest])
        order = np.argsort(-similarity, axis=1, kind="stable")
        ranked = np.take_along_axis(similarity, order, axis=1)
        place = np.zeros(ranked.shape, distance.dtype)
        place[:, 1:] = np.cumsum(ranked[:, 1:] != ranked[:, :-1], axis=1)
        found = distance + np.array(first, distance.dtype)
        np.put_along_axis(found, np.take_along_axis(nearest, order, axis=1), place, axis=1)
        return found

    return places


def _inner_product(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    # BLAS may round one and the same gallery row differently by where it stands in the matrix. Repeated rows (equal
    # captions) are compared once, so that their distances are equal to the bit and the tie is seen as one.
    distinct, column = _distinct_rows(gallery)

    def distances(rows: slice) -> np.ndarray:
        # torch's product, not numpy's: OpenBLAS's threads would spin for a while after it, where the sort now runs.
        similarity = torch.mm(torch.from_numpy(queries[rows]), torch.from_numpy(distinct).T).numpy()
        bits = similarity.view(np.int32)
        for start in range(0, len(bits), _ROWS_IN_CACHE):
            _make_sortable(similarity[start : start + _ROWS_IN_CACHE], bits[start : start + _ROWS_IN_CACHE])
        return bits if len(distinct) == len(gallery) else bits[:, column]

    return distances


def _make_sortable(similarity: np.ndarray, bits: np.ndarray) -> None:
    """Turn similarities, in place, into integers that grow with the distance; `bits` is the same memory as int32."""
    # Unlike a minus sign this never makes a -0.0, which equals 0.0 but has other bits.
    np.subtract(0, similarity, out=similarity)
    # IEEE bits sort like the numbers do, once those of negative numbers are turned round.
    bits ^= (bits >> 31) & 0x7FFFFFFF


def _distinct_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows, in order of first appearance, and for each row of `matrix` which of them it is."""
    if len(np.unique(matrix[:, :_TELLING].sum(axis=1))) == len(matrix):  # sums that differ are of rows that differ
        return matrix, np.arange(len(matrix))
    seen: dict[bytes, int] = {}
    column = np.fromiter((seen.setdefault(row.tobytes(), len(seen)) for row in matrix), np.intp, len(matrix))
    if len(seen) == len(matrix):
        return matrix, column
    return matrix[np.unique(column, return_index=True)[1]], column


def _hamming(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    query_words, gallery_words = as_words(queries), np.ascontiguousarray(as_words(gallery).T)

    def distances(rows: slice) -> np.ndarray:
        block = query_words[rows]
        distance = np.zeros((len(block), len(gallery)), np.uint16)
        for position, word in enumerate(gallery_words):
            distance += np.bitwise_count(block[:, position, None] ^ word)
        return distance

    return distances
