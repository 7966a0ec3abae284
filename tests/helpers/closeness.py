"""Floats are compared within these tolerances: another CPU, batch size or number of threads rounds differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

FIGURES = 1e-3  # measured figures, from one machine to another


def assert_alike(found: Any, expected: Any) -> None:
    """One computation done twice, in whatever order its sums are taken; of codes, all but a hundredth of the bits."""
    found, expected = (rows.detach().numpy() if isinstance(rows, torch.Tensor) else rows for rows in (found, expected))
    if found.dtype == np.uint8:
        assert found.shape == expected.shape
        assert np.bitwise_count(found ^ expected).sum() <= 0.01 * 8 * found.size
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def assert_trained_alike(found: Any, expected: Any) -> None:
    """Two trainings from one seed: rounding grows from step to step."""
    found, expected = (rows.detach().numpy() if isinstance(rows, torch.Tensor) else rows for rows in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def assert_signs(codes: torch.Tensor, values: torch.Tensor) -> None:
    """Codes are the signs of values, but where a value is so near zero that rounding decides."""
    clear = values.abs() > 1e-5
    assert clear.float().mean() > 0.9
    assert torch.equal(codes[clear], values[clear].sign().to(codes.dtype))


def assert_figures(found: dict[str, float], expected: dict[str, float]) -> None:
    """The same metrics, each within the tolerance of figures."""
    assert found == pytest.approx(expected, abs=FIGURES)


def assert_results(found: Sequence[dict], expected: Sequence[dict]) -> None:
    """The same entries of a training run's results, their metrics within the tolerance of figures."""
    for one, other in zip(found, expected, strict=True):
        assert {**one, "metrics": None} == {**other, "metrics": None}
        assert_figures(one["metrics"], other["metrics"])


def assert_best_first(rows: np.ndarray, vectors: np.ndarray, queries: np.ndarray, atol: float = 1e-6) -> None:
    """`(q, k)` rows are the best of all for each query and in order; nearly equal ones may change places."""
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    best = -np.sort(-scores, axis=1)[:, : rows.shape[1]]
    np.testing.assert_allclose(np.take_along_axis(scores, rows, axis=1), best, atol=atol)
    assert all(len(set(found)) == len(found) for found in rows.tolist())


def assert_hits(found: Sequence[Any], expected: Sequence[Any]) -> None:
    """The same items in the same order, with nearly the same scores."""
    assert [hit.id for hit in found] == [hit.id for hit in expected]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-5)
