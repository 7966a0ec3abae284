"""Kinds of embeddings: real-valued vectors compared by cosine, and binary codes compared by Hamming distance."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from .codes import FEW_ITEMS, unpack, warn_if_degenerate

logger = logging.getLogger(__name__)

UNIT = 1e-3  # how far from one a length may be: float16 keeps it to half of that
BLOCK_ROWS = 1 << 12  # whose copies, where halves are made whole, stay in a core's cache

Representation = Literal["real-valued", "binary"]


class EmbeddingKind(ABC):
    """What depends on whether embeddings are vectors or codes. Models make them and indexes search them.

    Attributes:
        name: as `CMRModel.representation` and `Index.representation` have it.
        noun: the embeddings in messages.
        similarity: what compares two of them, in messages.
        is_quantized: whether they hold less than the values they are made of, so that these may be stored as well.
    """

    name: ClassVar[Representation]
    noun: ClassVar[str]
    similarity: ClassVar[str]
    is_quantized: ClassVar[bool]

    @abstractmethod
    def as_vectors(self, embeds: np.ndarray) -> np.ndarray:
        """`(n, width)` embeddings as `(n, d)` float rows whose inner products are their similarities."""

    @abstractmethod
    def as_stored(self, embeds: np.ndarray) -> np.ndarray:
        """`(n, width)` embeddings in the data type that an index stores, contiguous; not copied where they are."""

    @abstractmethod
    def bits(self, width: int) -> int | None:
        """Code length of embeddings of this width; None where they are no codes."""

    @abstractmethod
    def describe(self, width: int) -> str:
        """Embeddings of this width in messages: "codes of 64 bits"."""

    @abstractmethod
    def bad_rows(self, embeds: np.ndarray) -> np.ndarray:
        """Numbers of the rows of `(n, width)` embeddings that no model gives."""

    @abstractmethod
    def warn_if_degenerate(self, embeds: np.ndarray, what: str) -> None:
        """Log a warning where embeddings waste their width; `what` names them."""


class RealValued(EmbeddingKind):
    """`(n, d)` float32 rows of unit length."""

    name = "real-valued"
    noun = "real-valued vectors"
    similarity = "cosine"
    is_quantized = False

    def as_vectors(self, embeds: np.ndarray) -> np.ndarray:
        return embeds

    def as_stored(self, embeds: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(embeds, np.float32)

    def bits(self, width: int) -> int | None:
        return None

    def describe(self, width: int) -> str:
        return f"real-valued vectors of width {width}"

    def bad_rows(self, embeds: np.ndarray) -> np.ndarray:
        """Rows that are neither of unit length nor zero, as are those of inputs that say nothing to the model.

        Example:
        ```python
        >>> REAL_VALUED.bad_rows(np.array([[0.6, 0.8], [0.0, 0.0], [3.0, 4.0], [np.nan, 1.0]], np.float32)).tolist()
        [2, 3]
        ```
        """
        bad = [np.empty(0, np.int64)]
        for start in range(0, len(embeds), BLOCK_ROWS):
            rows = embeds[start : start + BLOCK_ROWS].astype(np.float32, copy=False)
            squares = np.einsum("ij,ij->i", rows, rows)
            # Of NaN no comparison is true; what overflows to infinity is too long.
            is_unit = (squares >= (1 - UNIT) ** 2) & (squares <= (1 + UNIT) ** 2)
            bad.append(start + np.flatnonzero(~is_unit & (squares != 0)))
        return np.concatenate(bad)

    def warn_if_degenerate(self, embeds: np.ndarray, what: str) -> None:
        """Log a warning where all of many vectors are the same."""
        if len(embeds) >= FEW_ITEMS:
            warn_if_identical(embeds, what)


class Binary(EmbeddingKind):
    """`(n, bits // 8)` uint8 codes, the packed signs of the values."""

    name = "binary"
    noun = "codes"
    similarity = "Hamming"
    is_quantized = True

    def as_vectors(self, embeds: np.ndarray) -> np.ndarray:
        return unpack(embeds) / np.sqrt(np.float32(self.bits(embeds.shape[1])))

    def as_stored(self, embeds: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(embeds)

    def bits(self, width: int) -> int:
        return 8 * width

    def describe(self, width: int) -> str:
        return f"codes of {self.bits(width)} bits"

    def bad_rows(self, embeds: np.ndarray) -> np.ndarray:
        """None: any bytes are codes, whose length is a multiple of eight bits."""
        return np.empty(0, np.int64)

    def warn_if_degenerate(self, embeds: np.ndarray, what: str) -> None:
        warn_if_degenerate(embeds, what)


def warn_if_identical(embeds: np.ndarray, what: str) -> None:
    """Warn of embeddings that are all the same, so that nothing is found by them; `what` names them.

    Args:
        embeds: `(n, width)` vectors of unit length or codes; of one alone nothing can be said.
        what: the plural that the message begins with.
    """
    blocks = (embeds[start : start + BLOCK_ROWS] for start in range(0, len(embeds), BLOCK_ROWS))
    if len(embeds) > 1 and all(np.allclose(block, embeds[0], rtol=0, atol=UNIT) for block in blocks):
        logger.warning(
            "%s: identical embeddings, all %d of them. Any order of them is by chance: look for a training that "
            "diverged, inputs that are all the same, or texts without a known word.",
            what,
            len(embeds),
        )


REAL_VALUED, BINARY = RealValued(), Binary()
EMBEDDING_KINDS = MappingProxyType({kind.name: kind for kind in (REAL_VALUED, BINARY)})


def kind_of(embeds: np.ndarray) -> EmbeddingKind:
    """The kind of embeddings, by their data type.

    Example:
    ```python
    >>> kind_of(np.zeros((5, 8), np.uint8)).describe(8)
    'codes of 64 bits'
    ```
    """
    return BINARY if embeds.dtype == np.uint8 else REAL_VALUED


def described(embeds: np.ndarray) -> str:
    """`(n, width)` embeddings in messages: "codes of 64 bits", "real-valued vectors of width 1024".

    Example:
    ```python
    >>> described(np.zeros((5, 1024), np.float32))
    'real-valued vectors of width 1024'
    ```
    """
    return kind_of(embeds).describe(embeds.shape[1])


def as_vectors(embeds: np.ndarray) -> np.ndarray:
    """`(n, width)` embeddings as `(n, d)` rows of unit length; of codes their signs, scaled.

    Example:
    ```python
    >>> (8**0.5 * as_vectors(np.array([[0b11110000]], np.uint8))).round().astype(int).tolist()
    [[1, 1, 1, 1, -1, -1, -1, -1]]
    ```
    """
    return kind_of(embeds).as_vectors(embeds)
