"""Each metric against the slow, obvious computation."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from cmr_hub.evaluation import metrics

DIVISORS = ["hits", "relevant", "min"]


def slow_ap(hits, cut_off, divisor):
    found, total = 0, 0.0
    for rank, hit in enumerate(hits[:cut_off], start=1):
        if hit:
            found += 1
            total += found / rank
    by = {"hits": found, "relevant": sum(hits), "min": min(cut_off, sum(hits))}[divisor]
    return total / by if by else 0.0


def random_hits(seed, queries=40, n=23, share=0.2):
    hits = np.random.default_rng(seed).random((queries, n)) < share
    hits[0], hits[1] = False, True
    return hits


def orders_of(scores):
    """All orders of the items in which the scores do not fall."""
    return [order for order in permutations(range(len(scores))) if list(scores[list(order)]) == sorted(scores)]


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("cut_off", [1, 5, 22, 23])
def test_average_precision_is_the_double_loop(divisor, cut_off):
    hits = random_hits(0)
    found = metrics.average_precision(hits[:, :cut_off], hits.sum(axis=1), divisor)
    np.testing.assert_allclose(found, [slow_ap(row, cut_off, divisor) for row in hits], rtol=1e-12)


def test_average_precision_of_a_whole_ranking_is_sklearns():
    hits = random_hits(1)[1:]
    scores = np.arange(hits.shape[1])[::-1]
    found = metrics.average_precision(hits)
    expected = [average_precision_score(row, scores) if row.any() else 0.0 for row in hits]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("cut_off", [None, 1, 2, 3, 5, 6])
@pytest.mark.parametrize("scores", [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 2, 3], [0, 0, 1, 1, 1, 1], [0, 1, 2, 3, 4, 5]])
def test_tie_aware_average_precision_is_the_mean_over_all_orders(scores, cut_off, divisor):
    scores = np.array(scores)
    orders = orders_of(scores)
    for pattern in range(2**6):
        hits = np.array([pattern >> i & 1 for i in range(6)], bool)
        expected = np.mean([slow_ap(hits[list(order)], cut_off or 6, divisor) for order in orders])
        found = metrics.expected_average_precision(hits[None], scores[None], cut_off, divisor)
        assert found[0] == pytest.approx(expected, abs=1e-12), hits


def test_tie_aware_average_precision_of_several_queries_does_not_mix_them():
    hits, random = random_hits(2), np.random.default_rng(2)
    scores = np.sort(random.integers(0, 6, hits.shape), axis=1)
    together = metrics.expected_average_precision(hits, scores, cut_off=7)
    alone = [metrics.expected_average_precision(hits[[i]], scores[[i]], cut_off=7)[0] for i in range(len(hits))]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_tie_aware_average_precision_without_ties_is_the_plain_one():
    hits = random_hits(3)
    scores = np.broadcast_to(np.arange(hits.shape[1]), hits.shape)
    np.testing.assert_allclose(
        metrics.expected_average_precision(hits, scores, cut_off=9), metrics.average_precision(hits[:, :9]), rtol=1e-12
    )


def test_expected_hits_give_expected_precision():
    scores, hits = np.array([0, 1, 1, 1, 2, 2]), np.array([0, 1, 0, 0, 1, 0], bool)
    expected = np.mean([hits[list(order)][:3].mean() for order in orders_of(scores)])
    likely = metrics.expected_hits(hits[None], scores[None])
    assert metrics.precision_at(likely, 3)[0] == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 4, 23])
def test_ndcg_is_sklearns(k):
    hits = random_hits(4)
    scores = np.broadcast_to(np.arange(hits.shape[1])[::-1], hits.shape)
    expected = [ndcg_score(row[None], score[None], k=k) for row, score in zip(hits, scores, strict=True)]
    np.testing.assert_allclose(metrics.ndcg_at(hits, hits.sum(axis=1), k), expected, rtol=1e-12)


def test_ndcg_over_ties_is_sklearns_tie_averaged_one():
    hits = random_hits(5)
    scores = np.sort(np.random.default_rng(5).integers(0, 5, hits.shape), axis=1)
    likely = metrics.expected_hits(hits, scores)
    expected = [ndcg_score(row[None], -score[None], k=6) for row, score in zip(hits, scores, strict=True)]
    np.testing.assert_allclose(metrics.ndcg_at(likely, hits.sum(axis=1), 6), expected, rtol=1e-12)


def test_precision_recall_and_ranks():
    assert metrics.precision_at(np.array([[True, False, True, True]]), 3)[0] == pytest.approx(2 / 3)
    ranks = np.array([1, 2, 7, 30])
    assert metrics.recall_at(ranks, 1) == 0.25
    assert metrics.recall_at(ranks, 7) == 0.75
    assert metrics.median_rank(ranks) == 4  # between 2 and 7, rounded down


@pytest.mark.parametrize("scores", [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 2, 3], [0, 0, 1, 1, 1, 1], [0, 1, 2, 3, 4, 5]])
def test_expected_recall_and_rank_are_the_means_over_all_orders(scores):
    scores = np.array(scores)
    orders = orders_of(scores)
    for pattern in range(1, 2**6):
        hits = np.array([pattern >> i & 1 for i in range(6)], bool)
        ranks = np.array([hits[list(order)].argmax() + 1 for order in orders])
        best = scores[hits].min()
        standing = [
            np.array([count]) for count in ((scores < best).sum(), (scores == best).sum(), hits[scores == best].sum())
        ]
        assert metrics.expected_rank(*standing)[0] == pytest.approx(ranks.mean())
        for k in (1, 2, 3, 5, 6):
            assert metrics.expected_recall_at(*standing, k) == pytest.approx((ranks <= k).mean())


@pytest.mark.parametrize("points", [2, 11, 101])
def test_interpolated_precision_is_the_slow_definition(points):
    hits = random_hits(6)
    expected = []
    for row in hits[hits.any(axis=1)]:
        precision = np.cumsum(row) / np.arange(1, len(row) + 1)
        found = np.cumsum(row)
        # recall >= j / (points - 1), in whole numbers
        enough = [found * (points - 1) >= j * row.sum() for j in range(points)]
        expected.append([precision[mask].max() for mask in enough])
    np.testing.assert_allclose(metrics.interpolated_precision(hits, points), expected, rtol=1e-12)


def test_lookup_is_the_slow_definition():
    hits, random = random_hits(7), np.random.default_rng(7)
    hits[5] = False  # a query without a relevant item
    distances = np.sort(random.integers(1, 9, hits.shape), axis=1)
    distances[3, -2:] = 65535  # left out of the ranking
    counts = metrics.lookup_counts(hits, distances, bits=8)
    pooled, averaged = metrics.pooled_lookup(*counts), metrics.mean_lookup(*counts)
    for radius in range(9):
        right = returned = 0
        precisions, recalls = [], []
        for row, distance in zip(hits, distances, strict=True):
            inside = distance <= radius
            right, returned = right + (row & inside).sum(), returned + inside.sum()
            if row.any():
                precisions.append((row & inside).sum() / inside.sum() if inside.any() else 0)
                recalls.append((row & inside).sum() / row.sum())
        assert pooled[0][radius] == pytest.approx(right / returned if returned else 0)
        assert pooled[1][radius] == pytest.approx(right / hits.sum())
        assert averaged[0][radius] == pytest.approx(np.mean(precisions))
        assert averaged[1][radius] == pytest.approx(np.mean(recalls))


def test_lookups_that_return_nothing_weigh_nothing_in_pooled_precision():
    hits = np.array([[True, True], [True, False]])
    counts = metrics.lookup_counts(hits, np.array([[0, 0], [5, 5]]), bits=8)
    assert metrics.pooled_lookup(*counts)[0][0] == 1
    assert metrics.mean_lookup(*counts)[0][0] == 0.5
