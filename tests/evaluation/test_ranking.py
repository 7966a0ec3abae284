"""Rankings against a stable sort of one query at a time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from cmr_hub.evaluation import ranking
from cmr_hub.evaluation.ranking import Ranking, distances_between, distances_both_ways, ranked_hits


def dyadic(seed, rows, dim=3):
    """Rows whose products float32 holds exactly, with many ties."""
    return np.random.default_rng(seed).integers(-2, 3, (rows, dim)).astype(np.float32) / 4


def codes(seed, rows, nbytes):
    return np.random.default_rng(seed).integers(0, 256, (rows, nbytes), dtype=np.uint8)


def slow_hits(distance, relevant):
    return np.array([row[np.argsort(d, kind="stable")] for d, row in zip(distance, relevant, strict=True)])


@pytest.mark.parametrize("k", [None, 1, 7, 50, 60])
@pytest.mark.parametrize("coarse_items", [0, 8192])
def test_equal_scores_stand_in_gallery_order(monkeypatch, k, coarse_items):
    monkeypatch.setattr(ranking, "_COARSE_ITEMS", coarse_items)
    queries, gallery = dyadic(0, 40), dyadic(1, 50)
    relevant = np.random.default_rng(2).random((40, 50)) < 0.3
    found = ranked_hits(distances_between(queries, gallery)(slice(None)), relevant, k)
    np.testing.assert_array_equal(found, slow_hits(-(queries @ gallery.T), relevant)[:, :k])


def test_scores_that_differ_in_their_last_bit_are_told_apart():
    ones = np.ones(64, np.float32)
    gallery = np.nextafter(ones, np.arange(64) % 3 - 1, dtype=np.float32)[:, None]  # one step below, at, or above 1
    relevant = np.arange(64)[None] % 2 == 0
    found = ranked_hits(distances_between(ones[:1, None], gallery)(slice(None)), relevant)
    np.testing.assert_array_equal(found, slow_hits(-gallery.T, relevant))


def test_zero_and_minus_zero_are_equal():
    queries = np.array([[1, 0]], np.float32)
    gallery = np.array([[0, 1], [-0.0, -1], [0, -1], [-0.0, 1]], np.float32)
    relevant = np.array([[False, True, False, True]])
    np.testing.assert_array_equal(ranked_hits(distances_between(queries, gallery)(slice(None)), relevant), relevant)


@pytest.mark.parametrize("both_ways", [False, True])
def test_repeated_rows_tie_whatever_blas_rounds(both_ways):
    random = np.random.default_rng(0)
    one = random.standard_normal((7, 65), dtype=np.float32)
    repeated = one[random.integers(0, 7, 1003)]
    queries = random.standard_normal((131, 65), dtype=np.float32)
    distances = distances_both_ways(repeated, queries)[1] if both_ways else distances_between(queries, repeated)
    assert all(len(np.unique(row)) == 7 for row in distances(slice(None)))


@pytest.mark.parametrize("nbytes", [1, 2, 3, 8, 9, 17])
def test_hamming_distance_counts_bits(nbytes):
    queries, gallery = codes(0, 12, nbytes), codes(1, 15, nbytes)
    expected = (np.unpackbits(queries, axis=1)[:, None] != np.unpackbits(gallery, axis=1)[None]).sum(axis=2)
    np.testing.assert_array_equal(distances_between(queries, gallery)(slice(None)), expected)


@pytest.mark.parametrize("shared_bytes", [0, 2**26])
@pytest.mark.parametrize("rows", [(dyadic(3, 30), dyadic(4, 20)), (codes(3, 30, 2), codes(4, 20, 2))])
def test_both_ways_are_the_two_single_ways(monkeypatch, shared_bytes, rows):
    monkeypatch.setattr(ranking, "SHARED_BYTES", shared_bytes)
    forth, back = distances_both_ways(*rows)
    np.testing.assert_array_equal(forth(slice(5, 9)), distances_between(*rows)(slice(5, 9)))
    np.testing.assert_array_equal(back(slice(5, 9)), distances_between(*rows[::-1])(slice(5, 9)))


def test_first_hit_rank_is_where_the_first_hit_stands():
    queries, gallery = dyadic(5, 60), dyadic(6, 80)
    relevant = np.random.default_rng(7).random((60, 80)) < 0.05
    relevant[np.arange(60), np.arange(60)] = True
    distance = distances_between(queries, gallery)(slice(None))
    expected = slow_hits(distance, relevant).argmax(axis=1) + 1
    np.testing.assert_array_equal(ranking.first_hit_ranks(distance, relevant), expected)


def test_ties_of_the_first_hit_are_counted():
    distance = np.array([[3, 1, 1, 2, 1], [0, 0, 0, 0, 0], [5, 4, 3, 2, 1]], np.uint16)
    relevant = np.array([[1, 0, 1, 1, 1], [0, 1, 0, 0, 0], [1, 1, 0, 0, 0]], bool)
    expected = [[0, 0, 3], [3, 5, 1], [2, 1, 1]]  # nearer, as near, relevant among these
    np.testing.assert_array_equal(ranking.first_hit_ties(distance, relevant), expected)


@pytest.mark.parametrize("block_bytes", [1, 24 * 50 * 7, 2**27])
def test_blocks_of_any_size_give_the_same(monkeypatch, block_bytes):
    monkeypatch.setattr(ranking, "BLOCK_BYTES", block_bytes)
    random = np.random.default_rng(8)
    labels, gallery_labels = random.integers(0, 4, 40), random.integers(0, 4, 50)
    distances = distances_between(dyadic(9, 40), dyadic(10, 50))
    found = np.concatenate(Ranking(distances, labels, gallery_labels).map(ranked_hits, "Ranking"))
    np.testing.assert_array_equal(found, slow_hits(distances(slice(None)), labels[:, None] == gallery_labels))


def test_a_shared_label_is_enough():
    labels = np.array([[1, 1, 0], [0, 0, 0]], np.float32)
    gallery_labels = np.array([[0, 1, 0], [0, 0, 1], [1, 1, 1]], np.float32)
    ranked = Ranking(lambda rows: np.zeros((2, 3), np.uint16)[rows], labels, gallery_labels)
    (relevant,) = [np.concatenate(ranked.map(lambda _, relevant: relevant, "Ranking"))]
    np.testing.assert_array_equal(relevant, [[True, False, True], [False, False, False]])


def test_sparse_labels_are_the_dense_ones():
    random = np.random.default_rng(11)
    labels, gallery_labels = random.random((9, 30)) < 0.1, random.random((7, 30)) < 0.1
    ranked = Ranking(lambda rows: np.zeros((9, 7), np.uint16)[rows], csr_array(labels), csr_array(gallery_labels))
    relevant = np.concatenate(ranked.map(lambda _, relevant: relevant, "Ranking"))
    np.testing.assert_array_equal(relevant, (labels[:, None] & gallery_labels).any(axis=2))


def test_excluded_pairs_stand_last_and_are_no_hits():
    labels = np.zeros(3, int)
    distance = np.array([[0, 1, 2]] * 3, np.uint16)
    ranked = Ranking(lambda rows: distance[rows], labels, labels, excluded=(np.arange(3), np.arange(3)))
    np.testing.assert_array_equal(np.concatenate(ranked.map(ranked_hits, "Ranking")), [[True, True, False]] * 3)
    np.testing.assert_array_equal(distance, [[0, 1, 2]] * 3)  # what the directions share is left as it was
