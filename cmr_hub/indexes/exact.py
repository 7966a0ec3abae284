"""Exact search: one matrix product and a partial sort."""

from __future__ import annotations

import numpy as np

from .base import Index

BLOCK_SCORES = 1 << 25  # scores held at once: 128 MB of float32


class ExactIndex(Index):
    """Every row is compared; exact on ties.

    Example:

    ```python
    >>> import numpy as np
    >>> scores, rows = ExactIndex(np.eye(3, dtype=np.float32)).search(np.eye(3, dtype=np.float32)[:1], k=2)
    >>> rows.tolist(), scores.tolist()
    ([[0, 1]], [[1.0, 0.0]])
    ```
    """

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.check(queries)
        rows_at_once = max(1, BLOCK_SCORES // max(1, len(self.vectors)))
        found = [
            best_of(queries[start : start + rows_at_once] @ self.vectors.T, k)
            for start in range(0, len(queries), rows_at_once)
        ]
        scores, rows = zip(*found, strict=True)
        return np.concatenate(scores), np.concatenate(rows)


def best_of(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` largest of each row of `(q, n)` scores, best first; among equals the lowest column first."""
    columns = np.arange(scores.shape[1])
    best_scores, best_columns = [], []
    for row in scores:
        if k < len(row):
            # Everything above the k-th score, then the first of those equal to it: partition alone picks any of them.
            threshold = np.partition(row, len(row) - k)[len(row) - k]
            above = columns[row > threshold]
            chosen = np.concatenate([above, columns[row == threshold][: k - len(above)]])
        else:
            chosen = columns
        order = chosen[np.lexsort((chosen, -row[chosen]))]
        best_scores.append(row[order])
        best_columns.append(order)
    return np.stack(best_scores), np.stack(best_columns)
