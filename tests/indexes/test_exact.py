import numpy as np
import pytest

from cmr_hub.errors import UnknownNameError
from cmr_hub.indexes import INDEXES, exact


def slow_search(vectors, queries, k):
    found = []
    for query in queries:
        scores = [float(vector @ query) for vector in vectors]
        found.append(sorted(range(len(vectors)), key=lambda i: (-scores[i], i))[:k])
    return np.array(found)


@pytest.mark.parametrize("k", [1, 7, 60])
def test_agrees_with_sorting_everything(k):
    rng = np.random.default_rng(0)
    # Small integers: many scores are equal, and equal in any arithmetic.
    vectors = rng.integers(-2, 3, size=(60, 4)).astype(np.float32)
    queries = rng.integers(-2, 3, size=(25, 4)).astype(np.float32)
    scores, rows = INDEXES["exact"](vectors).search(queries, k)
    np.testing.assert_array_equal(rows, slow_search(vectors, queries, k))
    np.testing.assert_array_equal(scores, np.take_along_axis(queries @ vectors.T, rows, axis=1))


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    vectors, queries = rng.normal(size=(2, 40, 8)).astype(np.float32)
    whole = exact.ExactIndex(vectors).search(queries, 5)
    monkeypatch.setattr(exact, "BLOCK_SCORES", 100)
    for a, b in zip(whole, exact.ExactIndex(vectors).search(queries, 5), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_unknown_index():
    with pytest.raises(UnknownNameError, match=r"no index named 'exakt'. Did you mean 'exact'"):
        INDEXES["exakt"]
