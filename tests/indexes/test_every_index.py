"""What every index of one machine must do, whatever it is made of. A new one is picked up by itself."""

import numpy as np
import pytest

from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.indexes import INDEXES, Filter, load_index
from small_indexes import SETTINGS, make, vectors_for


@pytest.fixture(params=sorted(SETTINGS))
def name(request):
    return request.param


@pytest.fixture
def vectors(name):
    return vectors_for(name, 300)


def test_its_name_is_the_listed_one(name):
    assert INDEXES[name].name == name


def test_an_item_is_nearest_to_itself(name, vectors):
    scores, ids = make(name, vectors).search(vectors[:20], 1)
    assert scores.shape == ids.shape == (20, 1)
    assert (scores.dtype, ids.dtype) == (np.float32, np.int64)
    assert (ids[:, 0] == np.arange(20)).mean() >= 0.9


def test_the_best_come_first(name, vectors):
    scores, ids = make(name, vectors).search(vectors[:5], 10)
    assert (np.diff(scores[ids >= 0].reshape(5, -1), axis=1) <= 0).all()


def test_own_ids_adding_and_removing(name, vectors):
    index = make(name, vectors[:200], 1000 + np.arange(200))
    index.add(vectors[200:250])
    index.add(vectors[250:], 7 + np.arange(50))
    assert len(index) == 300
    assert index.ids.tolist() == [*range(1000, 1250), *range(7, 57)]
    found = index.search(vectors[:300:10], 1)[1][:, 0]
    assert (found == index.ids[::10]).mean() >= 0.9
    index.remove(found[:10])
    assert len(index) == 290
    assert not np.isin(index.search(vectors, 5)[1], found[:10]).any()
    with pytest.raises(InputError, match=f"no item with the id {found[0]} "):
        index.remove(found[:1])
    index.add(vectors[:1], found[:1])
    assert index.search(vectors[:1], 1)[1].tolist() == [[found[0]]]


def test_added_one_by_one_or_at_once(name, vectors):
    index = make(name, vectors[:290])
    for vector in vectors[290:]:
        index.add(vector[None])
    at_once = make(name, vectors[:290])
    at_once.add(vectors[290:])
    np.testing.assert_array_equal(index.ids, at_once.ids)
    np.testing.assert_allclose(index.search(vectors[:9], 4)[0], at_once.search(vectors[:9], 4)[0], atol=1e-6)


def test_confined_to_some(name, vectors):
    some = np.arange(3, 300, 7)
    scores, ids = make(name, vectors).search(vectors[:10], 50, Filter(some))
    assert np.isin(ids, [*some, -1]).all()
    assert (ids[:, -1] == -1).all()  # there are 43
    assert (scores[ids == -1] == -np.inf).all()
    assert not INDEXES[name].approximate or (ids >= 0).any()
    if not INDEXES[name].approximate:
        assert ((ids >= 0).sum(axis=1) == len(some)).all()


def test_saved_as_data_and_built_again(name, vectors, tmp_path):
    index = make(name, vectors)
    index.remove(np.array([5, 7]))
    index.add(vectors[5:6], np.array([900]))
    index.save(tmp_path / "index")
    files = {path.suffix for path in (tmp_path / "index").rglob("*") if path.is_file()}
    assert files <= {".json", ".safetensors"}
    again = load_index(tmp_path / "index")
    np.testing.assert_array_equal(again.ids, index.ids)
    assert again.options == index.options
    for one, other in zip(index.search(vectors[:30], 3), again.search(vectors[:30], 3), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_corrupt_or_missing_data(name, vectors, tmp_path):
    make(name, vectors).save(tmp_path)
    (tmp_path / "index.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"index.safetensors has 7 bytes instead of"):
        load_index(tmp_path)
    with pytest.raises(CheckpointError, match="Build it anew"):
        load_index(tmp_path, verify=False)


def test_refusals(name, vectors):
    other_kind = np.zeros((3, 8), np.float32 if vectors.dtype == np.uint8 else np.uint8)
    with pytest.raises(InputError, match="searches"):
        make(name, other_kind)
    index = make(name, vectors)
    with pytest.raises(InputError, match="embed both with one checkpoint"):
        index.search(vectors[:, :-1], 1)
    with pytest.raises(InputError, match="embed both with one checkpoint"):
        index.add(other_kind)
    with pytest.raises(InputError, match="k is 0"):
        index.search(vectors[:1], 0)
    for ids, message in [
        (np.array([1]), "taken already"),
        (np.array([900, 901]), "one id each"),
        (np.array([-4]), "negative"),
    ]:
        with pytest.raises(InputError, match=message):
            index.add(vectors[:1], ids)
    assert len(index) == 300


def test_no_queries_and_no_items(name, vectors):
    index = make(name, vectors)
    assert index.search(vectors[:0], 3)[1].shape == (0, 3)
    index.remove(index.ids)
    assert len(index) == 0
    assert index.search(vectors[:2], 3)[1].tolist() == [[-1] * 3] * 2
    index.add(vectors[:4])
    assert len(index) == 4
