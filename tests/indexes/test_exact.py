import numpy as np
import pytest

from cmr_hub.errors import InputError, UnknownNameError
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
    monkeypatch.setattr(exact, "BLOCK_ROWS", 7)
    monkeypatch.setattr(exact, "BLOCK_QUERIES", 3)
    for a, b in zip(whole, exact.ExactIndex(vectors).search(queries, 5), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_ties_keep_the_rows_order_across_blocks(monkeypatch):
    monkeypatch.setattr(exact, "BLOCK_ROWS", 7)
    vectors = np.random.default_rng(0).integers(-1, 2, (60, 3)).astype(np.float32)
    for k in (1, 6, 30):
        rows = exact.ExactIndex(vectors).search(vectors[:9], k)[1]
        np.testing.assert_array_equal(rows, slow_search(vectors, vectors[:9], k))


def test_halves_take_half_and_are_nearly_as_exact(monkeypatch):
    monkeypatch.setattr(exact, "HALVES_ROWS", 64)
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(200, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    whole, half = exact.ExactIndex(vectors), exact.ExactIndex(vectors, dtype="float16")
    assert half.vectors.nbytes * 2 == whole.vectors.nbytes
    assert half.options == {"dtype": "float16"}
    for query, rows in zip(vectors[:10], half.search(vectors[:10], 5)[1], strict=True):
        np.testing.assert_allclose(vectors[rows] @ query, whole.search(query[None], 5)[0][0], atol=5e-4)
    with pytest.raises(InputError, match="float32 or float16, not 'int8'"):
        exact.ExactIndex(vectors, dtype="int8")


def test_vectors_are_not_copied():
    vectors = np.eye(4, dtype=np.float32)
    assert np.shares_memory(exact.ExactIndex(vectors).vectors, vectors)


def test_unknown_index():
    with pytest.raises(UnknownNameError, match=r"no index named 'exakt'. Did you mean 'exact'"):
        INDEXES["exakt"]
