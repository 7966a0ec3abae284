"""What every index is: embeddings in, the nearest of them out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np

from ..codes import kind_of
from ..errors import InputError


class Index(ABC):
    """The nearest among the rows that it was built from: by inner product, or of binary codes by Hamming distance.

    Attributes:
        representation: what it searches: "real-valued" vectors or "binary" codes.
    """

    representation: ClassVar[Literal["real-valued", "binary"]] = "real-valued"

    def __init__(self, vectors: np.ndarray):
        """Build from `(n, d)` float32 rows of unit length, or from `(n, bits // 8)` uint8 codes.

        Raises:
            InputError: codes are given to an index of real-valued vectors, or the other way round.
        """
        if (vectors.dtype == np.uint8) != (self.representation == "binary"):
            takes = "codes" if self.representation == "binary" else "real-valued vectors"
            raise InputError(
                f"{type(self).__name__} searches {takes}, and these are {kind_of(vectors)}: index='auto' takes one "
                "that fits."
            )
        self.vectors = np.ascontiguousarray(vectors, None if self.representation == "binary" else np.float32)

    def check(self, queries: np.ndarray) -> None:
        """Refuse queries that cannot be compared with the rows.

        Raises:
            InputError: codes against real-valued vectors, or other lengths.
        """
        if (queries.dtype == np.uint8, queries.shape[1]) != (self.vectors.dtype == np.uint8, self.vectors.shape[1]):
            raise InputError(
                f"The queries are {kind_of(queries)} and the gallery has {kind_of(self.vectors)}: embed both with one "
                "checkpoint."
            )

    @abstractmethod
    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` rows for each query.

        Args:
            queries: `(q, d)`, of the kind that the index was built from.
            k: at most `n`.

        Returns:
            Cosines `(q, k)` float32, best first, and row numbers `(q, k)` int64; equal cosines keep the rows' order.

        Raises:
            InputError: queries that cannot be compared with the rows.
        """
