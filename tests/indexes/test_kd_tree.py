"""The KD-tree against sorting everything."""

import numpy as np
import pytest

from closeness import assert_best_first
from cmr_hub.errors import InputError
from cmr_hub.indexes import Filter
from cmr_hub.indexes.kd_tree import KDTreeIndex


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def slow_search(vectors, queries, k):
    vectors = vectors.astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = []
    for query in queries.astype(np.float64):
        scores = np.array([vector @ query for vector in vectors], np.float32)
        found.append(sorted(range(len(vectors)), key=lambda row: (-scores[row], row))[:k])
    return np.array(found)


@pytest.mark.parametrize("width", [2, 3, 20])
@pytest.mark.parametrize("k", [1, 7, 100])
def test_agrees_with_sorting_everything(width, k):
    rng = np.random.default_rng(width)
    vectors, queries = unit(rng.normal(size=(100, width))), unit(rng.normal(size=(20, width)))
    scores, rows = KDTreeIndex(vectors, leaf_size=4).search(queries, k)
    assert_best_first(rows, vectors, queries)
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", queries, vectors[rows]), atol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 5, 30, 79, 80])
def test_ties_keep_the_rows_order(k):
    # Few directions, many times each, and many of them equally far from a query.
    rng = np.random.default_rng(0)
    vectors = unit(np.repeat(rng.permutation(np.vstack([np.eye(4), -np.eye(4)])), 10, axis=0))[rng.permutation(80)]
    queries = unit(np.vstack([vectors[:5], [[1, 1, 0, 0]], [[1, -1, 1, 1]]]))
    np.testing.assert_array_equal(
        KDTreeIndex(vectors, leaf_size=2).search(queries, k)[1], slow_search(vectors, queries, k)
    )


def test_all_the_same():
    vectors = np.repeat(unit(np.ones((1, 3))), 200, axis=0)
    assert KDTreeIndex(vectors).search(vectors[:1], 4)[1].tolist() == [[0, 1, 2, 3]]


def test_queries_of_any_length():
    rng = np.random.default_rng(1)
    vectors, queries = unit(rng.normal(size=(60, 3))), unit(rng.normal(size=(4, 3)))
    index = KDTreeIndex(vectors)
    scores, rows = index.search(queries, 5)
    long_scores, long_rows = index.search(8 * queries, 5)  # a power of two rounds nothing
    np.testing.assert_array_equal(rows, long_rows)
    np.testing.assert_allclose(long_scores, 8 * scores, rtol=1e-5)
    assert index.search(0 * queries[:1], 3)[1].tolist() == [[0, 1, 2]]  # all as near


def test_confined_to_some():
    rng = np.random.default_rng(2)
    vectors, queries = unit(rng.normal(size=(90, 3))), unit(rng.normal(size=(9, 3)))
    some = np.arange(1, 90, 4)
    rows = KDTreeIndex(vectors).search(queries, 6, Filter(some))[1]
    assert np.isin(rows, some).all()
    assert_best_first(np.searchsorted(some, rows), vectors[some], queries)


def test_other_lengths_than_one_are_refused():
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(InputError, match="Vector 1 has length 2: a KD-tree takes vectors of unit length"):
        KDTreeIndex(vectors * np.array([[1], [2], [1]], np.float32))
    index = KDTreeIndex(vectors)
    with pytest.raises(InputError, match="Vector 0 has length nan"):
        index.add(np.full((1, 3), np.nan, np.float32))
    assert len(index) == 3


def test_leaf_size():
    assert KDTreeIndex(np.eye(3, dtype=np.float32), leaf_size=3).options == {"leaf_size": 3}
    with pytest.raises(InputError, match="leaf_size is 0"):
        KDTreeIndex(np.eye(3, dtype=np.float32), leaf_size=0)
