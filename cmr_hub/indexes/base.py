"""What every index is: vectors in, the nearest of them out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Index(ABC):
    """Nearest neighbours by inner product among the rows that it was built from."""

    @abstractmethod
    def __init__(self, vectors: np.ndarray):
        """Build from `(n, d)` float32 rows of unit length."""

    @abstractmethod
    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` rows for each query.

        Args:
            queries: `(q, d)` float32 rows of unit length.
            k: at most `n`.

        Returns:
            Scores `(q, k)` float32, best first, and row numbers `(q, k)` int64; equal scores keep the rows' order.
        """
