"""Binary codes as images: one square per bit, filled where it is set, marked where it differs from another code."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from .rendering import render

BITS_PER_ROW = 8
MAX_ROWS = 8  # longer codes have longer rows, so that no pattern is higher than wide
CELL = 10  # units of the drawing
SQUARE = 8


def differing(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which bits of two `(bits // 8,)` uint8 codes differ, in ascending order; their number is the Hamming distance.

    Example:
    ```python
    >>> differing(np.array([0b10000000], np.uint8), np.array([0b00000001], np.uint8)).tolist()
    [0, 7]
    ```
    """
    return np.flatnonzero(np.unpackbits(first ^ second))


def distance_in_words(first: np.ndarray, second: np.ndarray) -> str:
    """The Hamming distance of two codes as the end of a sentence.

    Example:
    ```python
    >>> distance_in_words(np.array([0b10000000], np.uint8), np.array([0b00000001], np.uint8))
    'differ in 2 of 8 bits'
    ```
    """
    count, bits = len(differing(first, second)), 8 * len(first)
    return f"differ in {count} of {bits} bits" if count else f"have the same {bits} bits"


def bit_pattern(title: str, code: np.ndarray, other: np.ndarray | None = None) -> Markup:
    """A code as a figure.

    Args:
        title: whose code it is.
        code: `(bits // 8,)` uint8.
        other: of the same shape; the bits that differ from it are marked.

    Returns:
        HTML; the alternative text gives the bits in hexadecimal, and the number of those that differ.
    """
    bits = np.unpackbits(code)
    width = BITS_PER_ROW * -(-len(bits) // (BITS_PER_ROW * MAX_ROWS))
    rows = -(-len(bits) // width)
    marked = np.array([], np.int64) if other is None else differing(code, other)
    description = f"{title}: {len(bits)} bits, in hexadecimal {code.tobytes().hex(' ')}"
    if other is not None:
        description += f"; {len(marked)} of them marked as different"
    squares = {"on": np.flatnonzero(bits), "off": np.flatnonzero(bits == 0), "differs": marked}
    return render(
        "bit_pattern",
        title=title,
        description=description,
        width=CELL * width,
        height=CELL * rows,
        paths={kind: _squares(positions, width) for kind, positions in squares.items() if len(positions)},
    )


def _squares(positions: np.ndarray, width: int) -> str:
    """The outlines of some cells as one SVG path."""
    corners = ((CELL * (bit % width) + 1, CELL * (bit // width) + 1) for bit in positions.tolist())
    return "".join(f"M{x} {y}h{SQUARE}v{SQUARE}h-{SQUARE}z" for x, y in corners)
