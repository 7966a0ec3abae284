"""One query vector of several weighted ones: words together with an image, and what hits must not be like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np

from cmr_hub.errors import InputError

CANCELLED = 1e-3  # of the weights' sum: a shorter sum of unit vectors is mostly rounding


def check_weight(weight: float) -> float:
    """A weight as it is, where it is a finite number.

    Raises:
        InputError: it is not.
    """
    if isinstance(weight, bool) or not isinstance(weight, Real) or not math.isfinite(weight):
        raise InputError(f"A weight must be a finite number, such as 1 or -0.5, not {weight!r}.")
    return float(weight)


def combine(rows: np.ndarray, weights: Sequence[float], class_dim: int | None = None) -> np.ndarray:
    """The weighted sum of embeddings, of unit length.

    Its inner product with an embedding is, up to a factor, the weighted sum of the cosines with each of the rows. Of
    embeddings of two parts each part is summed by itself, and the sums are of one length again.

    Args:
        rows: `(n, d)` real-valued embeddings, brought to unit length here.
        weights: one per row; negative ones lead away from it.
        class_dim: width of the class part, of embeddings of two parts.

    Returns:
        `(d,)` float32.

    Raises:
        InputError: the rows cancel each other out.

    Example:
    ```python
    >>> combine(np.array([[1.0, 0.0], [0.0, 1.0]]), [0.6, -0.8]).round(3).tolist()
    [0.6000000238418579, -0.800000011920929]
    ```
    """
    units = _unit(rows, class_dim)
    total = np.asarray(weights, np.float64) @ units.astype(np.float64)
    least = CANCELLED * np.abs(weights).sum()
    parts = [total] if class_dim is None else [total[:class_dim], total[class_dim:]]
    for part in parts:
        if np.linalg.norm(part) <= least:
            part[:] = 0
    if not total.any():
        raise InputError(
            "The terms of the query cancel each other out, so that nothing is left to search by: change their "
            "weights, or leave one out."
        )
    return _unit(total[None], class_dim)[0]


def _unit(rows: np.ndarray, class_dim: int | None) -> np.ndarray:
    """Rows of unit length, of two parts with each of the same length; zeros stay."""
    if class_dim is not None:
        from .parts import balanced  # which needs torch; a search from the shell does not

        return balanced(rows, class_dim)
    rows = np.asarray(rows, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
