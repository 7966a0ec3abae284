"""Binary codes: packing them into bytes, and telling those that waste their bits.

A code of c bits stands for c signs. Bit 1 is +1 (a value above zero), bit 0 is -1; eight bits make a byte, the first
of them its highest, as `numpy.packbits` has it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

logger = logging.getLogger(__name__)

FEW_ITEMS = 32  # so few items agree in a bit, or two bits of them, by mere chance


def pack(values: torch.Tensor) -> np.ndarray:
    """Signs of `(n, bits)` values as `(n, bits // 8)` uint8 codes.

    Example:
    ```python
    >>> import torch
    >>> pack(torch.tensor([[0.3, -2.0, 0.1, -0.1, 1.0, 1.0, 1.0, 1.0]])).tolist()
    [[175]]
    ```
    """
    return np.packbits((values > 0).cpu().numpy(), axis=1)


def unpack(codes: np.ndarray) -> np.ndarray:
    """`(n, bits // 8)` uint8 codes as `(n, bits)` float32 signs, -1 and +1.

    Example:
    ```python
    >>> import numpy as np
    >>> unpack(np.array([[175]], np.uint8)).tolist()
    [[1.0, -1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0]]
    ```
    """
    return np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1


def as_words(codes: np.ndarray) -> np.ndarray:
    """`(n, bits // 8)` uint8 codes as the fewest machine words, `(n, words)` of uint8, uint16, uint32 or uint64.

    It is a view where the rows lie one after another in memory: nothing is copied, and nothing padded.

    Example:
    ```python
    >>> import numpy as np
    >>> [as_words(np.zeros((5, size), np.uint8)).shape for size in (8, 16, 3)]
    [(5, 1), (5, 2), (5, 3)]
    ```
    """
    size = next(size for size in (8, 4, 2, 1) if codes.shape[1] % size == 0)
    return np.ascontiguousarray(codes).view(f"u{size}")


@dataclass(frozen=True)
class Degeneracy:
    """What is wasted of codes.

    Attributes:
        bits: code length.
        constant: bits that are the same in every code.
        redundant: pairs of other bits that are always equal, or always opposite; the second tells nothing new.
        one_code: whether all items have one and the same code.
    """

    bits: int
    constant: tuple[int, ...]
    redundant: tuple[tuple[int, int], ...]
    one_code: bool

    def __bool__(self) -> bool:
        return bool(self.constant or self.redundant)

    def __str__(self) -> str:
        if self.one_code:
            return f"all items have the same code of {self.bits} bits: the method has learned nothing, or has diverged"
        found = []
        if self.constant:
            found.append(f"{len(self.constant)} are constant ({_listed(self.constant)})")
        if self.redundant:
            pairs = _listed(f"{second} repeats {first}" for first, second in self.redundant)
            found.append(f"{len(self.redundant)} are copies or opposites of others ({pairs})")
        return (
            f"of {self.bits} bits, counted from 0, {' and '.join(found)}: a shorter code would tell as much, or other "
            "settings more"
        )


def degeneracy(codes: np.ndarray) -> Degeneracy:
    """Which bits of `(n, bits // 8)` uint8 codes tell nothing.

    Example:
    ```python
    >>> import numpy as np
    >>> print(degeneracy(np.array([[0b10100000], [0b01100000]], np.uint8)).redundant)
    ((0, 1),)
    ```
    """
    signs = unpack(codes)
    bits = signs.shape[1]
    constant = np.flatnonzero((signs == signs[0]).all(axis=0))
    # Bits that are constant agree with each other and are named once; a bit that repeats two others, too.
    likeness = np.abs(signs.T @ signs) == len(signs)
    likeness[constant] = False
    likeness[:, constant] = False
    first = likeness.argmax(axis=0)
    redundant = [(int(first[bit]), bit) for bit in range(bits) if likeness[first[bit], bit] and first[bit] < bit]
    return Degeneracy(bits, tuple(constant.tolist()), tuple(redundant), len(constant) == bits)


def warn_if_degenerate(codes: np.ndarray, what: str) -> None:
    """Warn of codes with constant or redundant bits, and name the bits; of a handful of items nothing can be said."""
    if len(codes) >= FEW_ITEMS and (found := degeneracy(codes)):
        logger.warning("Degenerate codes of the %s: %s.", what, found)


def _listed(things: Iterable[object], most: int = 12) -> str:
    names = list(map(str, things))
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")
