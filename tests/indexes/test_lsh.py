"""Hashing by hyperplanes: what a key is, which buckets are probed, and how much is found of the nearest."""

from itertools import product

import numpy as np
import pytest

from closeness import assert_best_first
from cmr_hub.errors import InputError
from cmr_hub.indexes import Filter
from cmr_hub.indexes.lsh import LSHIndex, hyperplanes, keys_of, margins, probed_keys
from small_indexes import clustered, recall, slow_search

WIDTH = 32


@pytest.mark.parametrize("angle", [0.1, 0.5, 1.0, 2.0, 3.0])
def test_two_vectors_share_a_bit_with_probability_one_minus_angle_over_pi(angle):
    pair = np.zeros((2, 5), np.float32)
    pair[:, 0], pair[1, :2] = 1, (np.cos(angle), np.sin(angle))
    modalities = margins(pair, hyperplanes(1000, 20, 5, seed=0)) > 0
    assert (
        abs((modalities[0] == modalities[1]).mean() - (1 - angle / np.pi)) < 0.01
    )  # three deviations of 20,000 throws


def test_a_key_has_a_bit_for_each_hyperplane():
    planes = hyperplanes(3, 32, WIDTH, seed=1)
    vectors = clustered(10)
    for vector, keys in zip(vectors, keys_of(margins(vectors, planes)), strict=True):
        for table, key in zip(planes, keys, strict=True):
            assert int(key) == sum(1 << bit for bit, plane in enumerate(table) if plane @ vector > 0)


@pytest.mark.parametrize("bits", [1, 4, 10, 12])
@pytest.mark.parametrize("probes", [1, 3, 16])
def test_the_nearest_buckets_are_probed(bits, probes):
    some = np.random.default_rng(bits).normal(size=(5, 2, bits)).astype(np.float32)
    found = probed_keys(some, probes)
    own = keys_of(some)
    for query, table in product(range(5), range(2)):
        squares = some[query, table] ** 2
        cost = {
            int(own[query, table]) ^ flips: sum(squares[bit] for bit in range(bits) if flips >> bit & 1)
            for flips in range(1 << bits)
        }
        assert sorted(found[query, table].tolist()) == sorted(sorted(cost, key=cost.get)[:probes])


def test_finds_nearly_all_that_sorting_everything_does():
    vectors, queries = clustered(3000), clustered(50, seed=1)
    index, true = LSHIndex(vectors), slow_search(vectors, queries, 10)
    scores, rows = index.search(queries, 10)
    assert recall(rows, true) >= 0.9
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", queries, vectors[rows]), atol=1e-6)
    by_few = recall(LSHIndex(vectors, tables=2, probes=1).search(queries, 10)[1], true)
    assert by_few < recall(LSHIndex(vectors, tables=2, probes=32).search(queries, 10)[1], true)
    assert by_few < recall(LSHIndex(vectors, tables=20, probes=1).search(queries, 10)[1], true)


def test_where_every_bucket_is_probed_it_is_exact():
    vectors, queries = clustered(300), clustered(9, seed=1)
    index = LSHIndex(vectors, tables=1, bits=4, probes=16)
    assert_best_first(index.search(queries, 20)[1], vectors, queries)
    some = np.arange(0, 300, 7)
    found = index.search(queries, 5, Filter(some))[1]
    assert_best_first(np.searchsorted(some, found), vectors[some], queries)
    assert np.isin(found, some).all()


def test_only_probed_buckets_are_found():
    vectors = clustered(500)
    index = LSHIndex(vectors, tables=1, bits=6, probes=1, seed=4)
    keys = keys_of(margins(vectors, hyperplanes(1, 6, WIDTH, seed=4)))[:, 0]
    scores, rows = index.search(vectors[:5], 500)
    for query, (score, found) in enumerate(zip(scores, rows, strict=True)):
        assert set(found[found >= 0]) == set(np.flatnonzero(keys == keys[query]))
        assert (score[found < 0] == -np.inf).all()


def test_keys_grow_with_the_items():
    vectors = clustered(3000)
    assert LSHIndex(vectors[:100])._planes.shape == (16, 4, WIDTH)
    assert LSHIndex(vectors)._planes.shape == (16, 8, WIDTH)
    assert LSHIndex(vectors, bits=20)._planes.shape == (16, 20, WIDTH)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tables": 0}, "tables is 0; it is from 1 to 1024"),
        ({"bits": 33}, "bits is 33; it is from 1 to 32"),
        ({"probes": 2000}, "probes is 2000; it is from 1 to 1024"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(InputError, match=message):
        LSHIndex(clustered(10), **options)
