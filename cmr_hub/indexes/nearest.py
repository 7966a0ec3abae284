"""The best scores of a long row, found block by block."""

from __future__ import annotations

import numpy as np

from .base import NOT_FOUND


class Nearest:
    """The `k` best scores of each of `q` queries among all that were shown; of equal scores the first shown is first.

    After a block or two few scores are better than the k-th so far, so that a block costs a single comparison.

    Example:
    ```python
    >>> nearest = Nearest(queries=1, k=2)
    >>> nearest.show(np.array([[0.1, 0.9, 0.5]], np.float32), first_row=0)
    >>> nearest.show(np.array([[0.9, 0.0]], np.float32), first_row=3)
    >>> [found.tolist() for found in nearest.found()]
    [[[0.8999999761581421, 0.8999999761581421]], [[1, 3]]]
    ```
    """

    def __init__(self, queries: int, k: int):
        self.k = k
        self._scores = [np.empty(0, np.float32)] * queries
        self._rows = [np.empty(0, np.int64)] * queries

    def show(self, scores: np.ndarray, first_row: int) -> None:
        """Look at `(q, m)` float32 scores of `m` rows, the first of them numbered `first_row`; -inf is never found."""
        for query, row in enumerate(scores):
            so_far = self._scores[query]
            bound = so_far[-1] if len(so_far) == self.k else self._lowest_needed(row)
            better = np.flatnonzero(row > bound)
            if len(better) < self.k and len(so_far) < self.k:
                better = np.flatnonzero((row >= bound) & (row > -np.inf))
            if len(better):
                self._merge(query, row[better], first_row + better)

    def _lowest_needed(self, row: np.ndarray) -> np.float32:
        """The k-th best of a block, or -inf where it has no more than `k`."""
        if len(row) <= self.k:
            return np.float32(-np.inf)
        return np.partition(row, len(row) - self.k)[len(row) - self.k]

    def _merge(self, query: int, scores: np.ndarray, rows: np.ndarray) -> None:
        scores, rows = np.concatenate([self._scores[query], scores]), np.concatenate([self._rows[query], rows])
        order = np.argsort(-scores, kind="stable")[: self.k]
        self._scores[query], self._rows[query] = scores[order], rows[order]

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores `(q, k)` float32, best first, and rows `(q, k)` int64; -inf and -1 where there were fewer."""
        return padded(self._scores, self._rows, self.k)


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of the `k` best of `(m,)` scores, best first; of equal scores the first is first.

    Example:
    ```python
    >>> best(np.array([0.5, 0.9, 0.1, 0.9]), 3).tolist()
    [1, 3, 0]
    ```
    """
    chosen = np.arange(len(scores))
    if k < len(scores):
        chosen = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    return chosen[np.argsort(-scores[chosen], kind="stable")[:k]]


def padded(scores: list[np.ndarray], rows: list[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds of up to `k` items a query, each best first, as `(q, k)` arrays; -inf and -1 fill what is missing."""
    all_scores = np.full((len(scores), k), -np.inf, np.float32)
    all_rows = np.full((len(rows), k), NOT_FOUND, np.int64)
    for query, (some_scores, some_rows) in enumerate(zip(scores, rows, strict=True)):
        all_scores[query, : len(some_scores)] = some_scores
        all_rows[query, : len(some_rows)] = some_rows
    return all_scores, all_rows
