"""Embeddings of two parts, a class part and an item part, and the focus that weighs them in queries."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np

from cmr_hub.errors import InputError

from .embeddings import as_vectors

NEUTRAL = 0.5  # the focus of embeddings as they are


def check_focus(focus: float) -> float:
    """A focus as it is, where it is a number from 0 to 1.

    Raises:
        InputError: it is not.
    """
    if isinstance(focus, bool) or not isinstance(focus, Real) or not 0 <= focus <= 1:  # false for NaN
        raise InputError(
            f"focus must be a number from 0 (the same kind of thing) to 1 (this very thing), not {focus!r}."
        )
    return float(focus)


def focused(embeds: np.ndarray, class_dim: int, focus: float) -> np.ndarray:
    """Queries whose parts are weighed: the class part by 1 - focus, the item part by focus.

    Args:
        embeds: `(n, embed_dim)` rows of unit length whose two parts are of one length, or `(n, embed_dim // 8)` codes
            whose two parts have the same number of bits.
        class_dim: width of the class part, which comes first; of codes its bits.
        focus: from 0 to 1.

    Returns:
        `(n, embed_dim)` float32 rows of unit length; a row of zeros stays.

    Raises:
        InputError: the focus is not from 0 to 1.

    Example:
    ```python
    >>> focused(np.array([[0.6, 0.8]], np.float32), class_dim=1, focus=0.0).tolist()
    [[1.0, 0.0]]
    ```
    """
    check_focus(focus)
    rows = np.array(as_vectors(embeds), np.float32)
    rows[:, :class_dim] *= 1 - focus
    rows[:, class_dim:] *= focus
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=rows, where=lengths > 0)


def balanced(embeds: np.ndarray, class_dim: int) -> np.ndarray:
    """`(n, embed_dim)` real-valued rows with two parts of one length, float32 of unit length; zeros stay.

    Embeddings are so already, unlike the values behind codes.

    Example:
    ```python
    >>> balanced(np.array([[2.0, 0.3, 0.4]], np.float32), class_dim=1).round(2).tolist()
    [[0.7099999785423279, 0.41999998688697815, 0.5699999928474426]]
    ```
    """
    rows = np.array(embeds, np.float32)
    for part in (rows[:, :class_dim], rows[:, class_dim:]):
        lengths = np.linalg.norm(part, axis=1, keepdims=True) * np.float32(math.sqrt(2))
        np.divide(part, lengths, out=part, where=lengths > 0)
    return rows


def focus_scale(focus: float) -> float:
    """What turns the inner product of a weighed query with a gallery's vector into the score that users see.

    The score is (1 - focus) * cosine of the class parts + focus * cosine of the item parts; the query's length was
    divided by sqrt((1 - focus)² + focus²), and the gallery's parts by sqrt(2).

    Example:
    ```python
    >>> focus_scale(0.5)
    1.0
    ```
    """
    return math.sqrt(2 * ((1 - focus) ** 2 + focus**2))
