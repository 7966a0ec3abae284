"""A KD-tree: space is halved along one coordinate after another, and far halves are not looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from cmr_hub.errors import InputError
from cmr_hub.indexes import register_index

from .base import Filter, Index, check_k
from .nearest import best, padded

UNIT = 1e-3  # how far from one a length may be: halves stray by less
TIE = 1e-6  # of squared distances; cosines that float32 cannot tell apart differ by a tenth of it


@register_index("kd_tree")
class KDTreeIndex(Index):
    """scipy's cKDTree, exact on ties. Of unit vectors the nearest by distance is the nearest by cosine.

    In a few dimensions it looks at some leaves, in many at nearly all of them and is slower than comparing everything
    (`benchmarks/curse.py`). It keeps the vectors once more, as float64, and is built anew when items come or go. A
    search that is confined compares all that may be found.

    Args:
        vectors, ids: as for [`Index`].
        leaf_size: items that are not divided further.

    Raises:
        InputError: also a vector that is not of unit length.

    Example:
    ```python
    >>> import numpy as np
    >>> scores, rows = KDTreeIndex(np.eye(3, dtype=np.float32)).search(np.eye(3, dtype=np.float32)[:1], k=2)
    >>> rows.tolist(), scores.tolist()
    ([[0, 1]], [[1.0, 0.0]])
    ```
    """

    def __init__(self, vectors: np.ndarray, ids: np.ndarray | None = None, *, leaf_size: int = 16):
        if leaf_size < 1:
            raise InputError(f"leaf_size is {leaf_size}: a leaf has one item at least.")
        self.leaf_size = leaf_size
        super().__init__(vectors, ids)

    @property
    def options(self) -> dict[str, Any]:
        return {"leaf_size": self.leaf_size}

    def search(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
        self.check(queries)
        check_k(k)
        queries = queries.astype(np.float64)
        allowed = self._allowed(filter)
        if allowed is not None or not len(self):
            candidates = [np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)] * len(queries)
        else:
            candidates = self._candidates(queries, k)
        all_scores, all_rows = [], []
        for query, rows in zip(queries, candidates, strict=True):
            # In double precision first, so that equal vectors have equal scores wherever they lie.
            scores = (self._tree.data[rows] @ query).astype(np.float32)
            order = best(scores, k)
            all_scores.append(scores[order])
            all_rows.append(rows[order])
        scores, rows = padded(all_scores, all_rows, k)
        return scores, self._ids_of(rows)

    def _candidates(self, queries: np.ndarray, k: int) -> list[np.ndarray]:
        """For each query rows, ascending, with the `k` nearest among them and all that tie with the last of these."""
        queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        # One more than asked shows whether the last has an equal.
        distances, rows = self._tree.query(queries, k=range(1, min(k + 1, len(self)) + 1))
        if k >= len(self):
            return list(np.sort(rows, axis=1))
        squares = distances**2
        found = list(np.sort(rows[:, :k], axis=1))
        for query in np.flatnonzero(squares[:, k] - squares[:, k - 1] <= TIE):
            within = self._tree.query_ball_point(
                queries[query], np.sqrt(squares[query, k - 1] + TIE), return_sorted=True
            )
            found[query] = np.array(within, np.int64)
        return found

    def _build(self) -> None:
        vectors = self.vectors.astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self._tree = cKDTree(vectors, leafsize=self.leaf_size)

    def _kept(self, vectors: np.ndarray) -> np.ndarray:
        kept = super()._kept(vectors)
        lengths = np.linalg.norm(kept, axis=1)
        other = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT))
        if len(other):
            raise InputError(
                f"Vector {other[0]} has length {lengths[other[0]]:.4g}: a KD-tree takes vectors of unit length."
            )
        return kept
