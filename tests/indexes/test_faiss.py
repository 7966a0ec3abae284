"""faiss' indexes against sorting everything."""

import json

import faiss as raw
import numpy as np
import pytest

from closeness import assert_best_first
from cmr_hub.errors import InputError
from cmr_hub.indexes import INDEXES, Filter, load_index
from cmr_hub.indexes import faiss as module
from cmr_hub.indexes.faiss import FaissIndex, default_factory
from small_indexes import clustered, recall, slow_search

WIDTH = 32


@pytest.fixture(scope="module")
def vectors():
    return clustered(3000)


@pytest.fixture(scope="module")
def queries():
    return clustered(50, seed=1)


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({}, 1.0),
        ({"factory": "IVF16,Flat", "nprobe": 16}, 1.0),
        ({"factory": "IVF16,Flat", "nprobe": 4}, 0.9),
        ({"factory": "HNSW16", "ef_search": 64}, 0.95),
        ({"factory": "IVF16,PQ16x4", "nprobe": 8, "refine": 8}, 0.9),
        ({"factory": "OPQ4,IVF4,PQ4x4", "nprobe": 4, "refine": 30}, 0.9),
    ],
)
def test_finds_what_sorting_everything_does(vectors, queries, options, least):
    scores, rows = INDEXES["faiss"](vectors, **options).search(queries, 10)
    assert recall(rows, slow_search(vectors, queries, 10)) >= least
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", queries, vectors[rows]), atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_estimates_are_refined_to_true_cosines(vectors, queries):
    estimated = FaissIndex(vectors, factory="IVF4,PQ4x4", nprobe=4)
    refined = FaissIndex(vectors, factory="IVF4,PQ4x4", nprobe=4, refine=10)
    true = slow_search(vectors, queries, 5)
    scores, rows = estimated.search(queries, 5)
    assert np.abs(scores - np.einsum("qd,qkd->qk", queries, vectors[rows])).max() > 0.01
    assert recall(refined.search(queries, 5)[1], true) > recall(rows, true) + 0.2
    # All refined is exact, whatever the ids.
    ids = 10_000 - 3 * np.arange(3000)
    everything = FaissIndex(vectors, ids, factory="IVF4,PQ4x4", nprobe=4, refine=600)
    assert_best_first(np.searchsorted(-ids, -everything.search(queries, 5)[1]), vectors, queries)


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW16"])
def test_equal_scores_are_ordered_by_id(factory):
    twins = np.repeat(clustered(30), 5, axis=0)
    ids = np.arange(150)[::-1].copy()
    index = FaissIndex(twins, ids, factory=factory, **({"nprobe": 4} if "IVF" in factory else {}))
    found = index.search(twins[::5], 5)[1]
    np.testing.assert_array_equal(found, np.sort(ids.reshape(30, 5), axis=1))


@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat", "PCA24,IVF16,Flat", "HNSW16", "SQ8"])
def test_confined_to_some(vectors, queries, factory):
    some = np.arange(0, 3000, 3)
    options = {"nprobe": 16} if "IVF" in factory else {}
    index = FaissIndex(vectors, factory=factory, **options, refine=10)
    rows = index.search(queries, 5, Filter(some))[1]
    assert np.isin(rows, some).all()
    assert recall(rows, some[slow_search(vectors[some], queries, 5)]) >= 0.8
    assert (index.search(queries, 5, Filter(some[:0]))[1] == -1).all()


def test_where_faiss_cannot_confine_it_says_what_can(vectors, queries):
    index = FaissIndex(vectors, factory="PQ8x4")
    with pytest.raises(InputError, match="cannot confine a search in 'PQ8x4'; with IVF1 before the codes it can"):
        index.search(queries, 5, Filter(np.arange(10)))
    confined = FaissIndex(vectors, factory="IVF1,PQ8x4")
    assert (confined.search(queries, 5, Filter(np.arange(10)))[1] < 10).all()


@pytest.mark.parametrize("factory", ["IVF16,Flat", "HNSW16", "NSG16"])
def test_adding_and_removing_is_like_building(vectors, queries, factory):
    options = {"factory": factory, "nprobe": 16} if "IVF" in factory else {"factory": factory}
    index = FaissIndex(vectors[:400], **options)
    index.add(vectors[400:600])
    index.remove(np.arange(0, 600, 2))
    stays = np.arange(1, 600, 2)
    assert index._made.ntotal == len(index) == 300
    assert recall(index.search(queries, 10)[1], stays[slow_search(vectors[stays], queries, 10)]) >= 0.8


def test_adding_trains_nothing_and_moves_nothing(vectors, monkeypatch):
    index = FaissIndex(vectors[:2000], factory="IVF16,Flat")
    added = []
    monkeypatch.setattr(FaissIndex, "_train", lambda *args: pytest.fail("trained again"))
    monkeypatch.setattr(index._made, "add_with_ids", lambda rows, ids: added.extend(ids.tolist()))
    index.add(vectors[2000:])
    assert added == list(range(2000, 3000))


def test_an_empty_index_is_trained_by_the_first_items(vectors, queries):
    index = FaissIndex(vectors[:0], factory="IVF16,Flat", nprobe=16)
    assert (index.search(queries, 3)[1] == -1).all()
    with pytest.raises(InputError, match=r"5 vectors cannot train 'IVF16,Flat'; 'Flat' fits so many"):
        index.add(vectors[:5])
    assert len(index) == 0
    index.add(vectors)
    assert_best_first(index.search(queries, 3)[1], vectors, queries)


def test_the_default_has_lists_once_there_are_items_for_them(monkeypatch, vectors):
    assert [default_factory(n) for n in (0, 10_000, 40_000, 1_000_000)] == [
        "Flat",
        "Flat",
        "IVF1024,Flat",
        "IVF4096,Flat",
    ]
    monkeypatch.setattr(module, "LEAST_A_LIST", 1)
    index = FaissIndex(vectors[:10], nprobe=2)
    index.widen(nprobe=3)
    index.add(vectors[10:40])
    assert raw.try_extract_index_ivf(index._made) is None
    index.add(vectors[40:])
    lists = raw.try_extract_index_ivf(index._made)
    assert (lists.nlist, lists.nprobe, lists.ntotal) == (256, 3, 3000)


def test_looking_wider_finds_more_and_is_kept(vectors, queries, tmp_path):
    index, true = FaissIndex(vectors, factory="IVF64,Flat", nprobe=1), slow_search(vectors, queries, 10)
    narrow = recall(index.search(queries, 10)[1], true)
    index.widen(nprobe=64)
    assert narrow < recall(index.search(queries, 10)[1], true) == 1
    index.save(tmp_path)
    assert load_index(tmp_path).options == {**index.options, "nprobe": 64}


def test_what_is_saved_are_vectors_and_options(vectors, tmp_path):
    FaissIndex(vectors, factory="IVF16,Flat", seed=3).save(tmp_path)
    config = json.loads((tmp_path / "index_config.json").read_text())
    assert config["options"] == {
        "factory": "IVF16,Flat",
        "nprobe": None,
        "ef_search": None,
        "refine": 0,
        "seed": 3,
    }
    assert (tmp_path / "index.safetensors").stat().st_size < vectors.nbytes + 1000


def test_what_is_left_of_an_index_can_be_loaded_however_little(vectors, tmp_path):
    index = FaissIndex(vectors[:64], factory="IVF16,Flat", nprobe=16, refine=2)
    index.remove(np.arange(60))
    index.save(tmp_path)
    again = load_index(tmp_path)
    assert again.search(vectors[60:64], 1)[1].ravel().tolist() == [60, 61, 62, 63]
    assert (again.options["factory"], again.options["refine"]) == (None, 2)


def test_a_seed_is_repeatable_by_any_number_of_threads(vectors, queries):
    def found(seed, threads):
        before = raw.omp_get_max_threads()
        raw.omp_set_num_threads(threads)
        try:
            return FaissIndex(vectors, factory="IVF64,Flat", nprobe=1, seed=seed).search(queries, 10)[1]
        finally:
            raw.omp_set_num_threads(before)

    first = found(0, 1)
    assert (first == found(0, 2)).mean() > 0.95 > (first == found(1, 1)).mean()


def test_the_sample_is_bounded(vectors, monkeypatch):
    monkeypatch.setattr(module, "LEAST_TRAINING", 100)
    trained = []
    original = raw.IndexIVFFlat.train
    monkeypatch.setattr(
        raw.IndexIVFFlat, "train", lambda self, rows: (trained.append(rows.copy()), original(self, rows))
    )
    FaissIndex(vectors, factory="IVF4,Flat")
    FaissIndex(vectors, factory="IVF4,Flat", seed=1)
    assert [len(rows) for rows in trained] == [256, 256]
    assert len(np.unique(trained[0], axis=0)) == 256
    assert (trained[0] != trained[1]).any()


def test_vectors_are_not_copied(vectors):
    assert np.shares_memory(FaissIndex(vectors, factory="Flat").vectors, vectors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factory": "IVF16;Flat"}, r"does not know 'IVF16;Flat' for vectors of width 32. faiss says: could not"),
        ({"factory": "IVF16,PQ7"}, "should be a multiple of the number of subquantizers"),
        ({"factory": "HNSW16_PQ8"}, "ranks by distances"),
        ({"factory": "IVF4,PQ8x4,RFlat"}, "'IVF4,PQ8x4,RFlat' refines by itself: leave that out"),
        ({"factory": "IVF4000,Flat"}, "3,000 vectors cannot train 'IVF4000,Flat'; 'Flat' fits so many"),
        ({"factory": "HNSW16", "nprobe": 4}, "nprobe does not apply to HNSW16"),
        ({"factory": "IVF16,Flat", "ef_search": 4}, "ef_search does not apply to IVF16,Flat"),
        ({"nprobe": 0}, "nprobe is 0; it is at least 1"),
        ({"refine": -1}, "refine is -1; it is at least 0"),
        ({"refine": None}, "refine is None; it is a whole number from 0"),
    ],
)
def test_refusals_say_what_to_do(vectors, options, message):
    with pytest.raises(InputError, match=message):
        FaissIndex(vectors, **options)
