"""Exact search: matrix products block by block, and the best of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch

from cmr_hub.errors import InputError
from cmr_hub.indexes import register_index

from .base import Filter, Index, check_k
from .nearest import Nearest

# Compared at once. Their scores stay in a core's cache; of halves also what is made whole of them. Not fewer: each
# product waits for its slowest thread, which on a busy machine takes longer than the product.
BLOCK_ROWS = 1 << 15
HALVES_ROWS = 1 << 13
BLOCK_QUERIES = 256


@register_index("exact")
class ExactIndex(Index):
    """Every row is compared; exact on ties.

    Args:
        vectors, ids: as for [`Index`].
        dtype: how vectors are stored. "float16" halves the memory; cosines are then off by up to about .0005.

    Example:
    ```python
    >>> import numpy as np
    >>> scores, rows = ExactIndex(np.eye(3, dtype=np.float32)).search(np.eye(3, dtype=np.float32)[:1], k=2)
    >>> rows.tolist(), scores.tolist()
    ([[0, 1]], [[1.0, 0.0]])
    ```
    """

    def __init__(
        self,
        vectors: np.ndarray,
        ids: np.ndarray | None = None,
        *,
        dtype: Literal["float32", "float16"] = "float32",
    ):
        if dtype not in ("float32", "float16"):
            raise InputError(f"Vectors are stored as float32 or float16, not {dtype!r}.")
        self.dtype = dtype
        super().__init__(vectors, ids)

    @property
    def options(self) -> dict[str, Any]:
        return {"dtype": self.dtype}

    def _kept(self, vectors: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(vectors, self.dtype)

    def search(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
        self.check(queries)
        check_k(k)
        allowed = self._allowed(filter)
        found = [
            self._search(np.ascontiguousarray(queries[start : start + BLOCK_QUERIES], np.float32), k, allowed)
            for start in range(0, len(queries), BLOCK_QUERIES)
        ]
        if not found:
            return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
        scores, rows = (np.concatenate(column) for column in zip(*found, strict=True))
        return scores, self._ids_of(rows)

    def _search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        nearest = Nearest(len(queries), k)
        for start, block in self._blocks():
            scores = queries @ block.T
            if allowed is not None:
                scores[:, ~allowed[start : start + len(block)]] = -np.inf
            nearest.show(scores, start)
        return nearest.found()

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The first row of each block, and its vectors as float32; the next block overwrites halves made whole."""
        halves = self.dtype == "float16"
        rows = HALVES_ROWS if halves else BLOCK_ROWS
        whole = np.empty((min(rows, len(self)) if halves else 0, self.width), np.float32)
        for start in range(0, len(self), rows):
            block = self.vectors[start : start + rows]
            if halves:
                # torch converts halves by the processor's own instruction, numpy one by one.
                block = torch.from_numpy(whole[: len(block)]).copy_(torch.from_numpy(block)).numpy()
            yield start, block
