"""Codes of two parts compared by (1 - focus) * cosine of the class parts + focus * cosine of the item parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

DECIMALS = 9  # scores that differ by less do so by rounding


@dataclass(frozen=True)
class CodeParts:
    """The two parts of codes, and their weights in a query.

    There are few different scores, one per pair of Hamming distances. They are numbered, so that codes are compared by
    integers, and equal scores are equal to the bit.

    Attributes:
        class_bits: bits of the class part, the first of a code.
        item_bits: bits of the item part.
        focus: weight of the item part, from 0 to 1; the class part has the rest.

    Example:
    ```python
    >>> parts = CodeParts(class_bits=8, item_bits=8, focus=0.75)
    >>> ranks = parts.ranks(class_distances=np.array([0, 8]), distances=np.array([2, 9]))
    >>> ranks.tolist(), parts.scores[ranks].tolist()
    ([6, 11], [0.625, 0.3125])
    ```
    """

    class_bits: int
    item_bits: int
    focus: float

    @property
    def bits(self) -> int:
        """Code length."""
        return self.class_bits + self.item_bits

    @property
    def is_plain(self) -> bool:
        """Whether the scores are those of codes without parts, by Hamming distance."""
        return self.class_bits == self.item_bits and self.focus == 0.5

    @property
    def mask(self) -> np.ndarray:
        """`(bits // 8,)` uint8: the bits of the class part."""
        return np.packbits(np.arange(self.bits) < self.class_bits)

    @cached_property
    def scores(self) -> np.ndarray:
        """`(ranks,)` float32: the different scores, best first."""
        return -self._numbered[0].astype(np.float32)

    def ranks(self, class_distances: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Ranks of scores, int32; 0 is the best.

        Args:
            class_distances: Hamming distances of the class parts.
            distances: Hamming distances of the whole codes, of the same shape.
        """
        row = np.multiply(class_distances, self.bits + 1, dtype=np.intp)
        row += distances
        return self._numbered[1].take(row)

    @cached_property
    def _numbered(self) -> tuple[np.ndarray, np.ndarray]:
        """Minus the different scores, ascending; and `(class_bits + 1, bits + 1)` ranks by the two distances."""
        of_class, of_all = np.arange(self.class_bits + 1)[:, None], np.arange(self.bits + 1)
        class_cosines, item_cosines = 1 - 2 * of_class / self.class_bits, 1 - 2 * (of_all - of_class) / self.item_bits
        scores = (1 - self.focus) * class_cosines + self.focus * item_cosines
        # A class part differs in no more bits than the code does, and no fewer than the item part leaves to it.
        is_possible = (of_class <= of_all) & (of_all - of_class <= self.item_bits)
        different, ranks = np.unique(-scores[is_possible].round(DECIMALS), return_inverse=True)
        table = np.zeros(scores.shape, np.int32)
        table[is_possible] = ranks
        return different, table
