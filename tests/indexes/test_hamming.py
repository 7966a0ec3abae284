"""The Hamming index against comparing bit by bit and sorting everything."""

import numpy as np
import pytest

from cmr_hub.errors import InputError
from cmr_hub.indexes import INDEXES, Filter, hamming
from cmr_hub.indexes.hamming import HammingIndex
from cmr_hub.modeling.code_parts import CodeParts
from cmr_hub.modeling.codes import unpack


def random_codes(seed, n, nbytes):
    return np.random.default_rng(seed).integers(0, 256, (n, nbytes), dtype=np.uint8)


def slow_distances(query, codes):
    return np.array(
        [sum(bin(a ^ b).count("1") for a, b in zip(query.tolist(), code.tolist(), strict=True)) for code in codes]
    )


def slow_order(query, codes):
    distance = slow_distances(query, codes)
    return sorted(range(len(codes)), key=lambda i: (distance[i], i)), distance


@pytest.fixture(params=["one block", "many blocks", "faiss", "faiss, few queries at once"])
def sizes(request, monkeypatch):
    """The same results however the rows are divided, and by whom."""
    if request.param.startswith("faiss"):
        pytest.importorskip("faiss")
        if request.param != "faiss":
            monkeypatch.setattr(hamming, "FAISS_MEMORY", 1 << 16)
    else:
        monkeypatch.setattr(hamming, "_faiss", lambda: None)
    if request.param == "many blocks":
        monkeypatch.setattr(hamming, "BLOCK_ROWS", 7)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("nbytes", [1, 2, 3, 8, 16, 32])
@pytest.mark.parametrize("k", [1, 6, 100])
def test_agrees_with_sorting_everything(nbytes, k):
    codes, queries = random_codes(0, 100, nbytes), random_codes(1, 5, nbytes)
    index = INDEXES["hamming"](codes)
    cosines, rows = index.search(queries, k)
    assert cosines.dtype == np.float32
    for query, found, cosine in zip(queries, rows, cosines, strict=True):
        order, distance = slow_order(query, codes)
        assert found.tolist() == order[:k]
        assert index.distances(cosine).tolist() == distance[found].tolist()
        np.testing.assert_allclose(cosine, 1 - 2 * distance[found] / (8 * nbytes), atol=1e-6)


@pytest.mark.usefixtures("sizes")
def test_ties_keep_the_rows_order():
    codes = np.repeat(random_codes(0, 3, 2), 40, axis=0)
    _, rows = HammingIndex(codes).search(codes[:1], 50)
    assert rows[0][:40].tolist() == list(range(40))
    assert sorted(rows[0]) == sorted(slow_order(codes[0], codes)[0][:50])


def test_the_farthest_of_256_bits_is_256_away():
    codes = np.array([[255] * 32, [0] * 32], np.uint8)
    index = HammingIndex(codes)
    cosines, rows = index.search(codes[1:], 2)
    assert rows.tolist() == [[1, 0]]
    assert cosines.tolist() == [[1.0, -1.0]]
    assert index.distance_counts(codes[:1])[0, [0, 256]].tolist() == [1, 1]


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("radius", [0, 3, 8, 16])
def test_lookup_finds_all_within_the_radius(radius):
    codes, queries = random_codes(2, 100, 2), random_codes(3, 4, 2)
    found = HammingIndex(codes).range_search(queries, radius)
    for query, rows in zip(queries, found, strict=True):
        order, distance = slow_order(query, codes)
        assert rows.tolist() == [i for i in order if distance[i] <= radius]


@pytest.mark.usefixtures("sizes")
def test_distance_counts_tell_ties():
    codes, queries = random_codes(2, 100, 2), random_codes(3, 4, 2)
    counts = HammingIndex(codes).distance_counts(queries)
    assert counts.shape == (4, 17)
    for query, count in zip(queries, counts, strict=True):
        distance = slow_distances(query, codes)
        assert count.tolist() == [int((distance == d).sum()) for d in range(17)]


def test_the_codes_are_not_copied():
    codes = random_codes(0, 10, 8)
    assert np.shares_memory(HammingIndex(codes).words, codes)


def test_vectors_of_the_wrong_kind_are_refused():
    with pytest.raises(InputError, match=r"HammingIndex searches codes, and these are real-valued vectors of width 8"):
        HammingIndex(np.zeros((3, 8), np.float32))
    with pytest.raises(InputError, match=r"ExactIndex searches real-valued vectors, and these are codes of 64 bits"):
        INDEXES["exact"](random_codes(0, 3, 8))


def test_queries_that_cannot_be_compared_are_refused():
    index = HammingIndex(random_codes(0, 3, 8))
    with pytest.raises(InputError, match="The queries are codes of 32 bits and the gallery has codes of 64 bits"):
        index.search(random_codes(1, 1, 4), 1)
    with pytest.raises(InputError, match="The queries are real-valued vectors of width 8"):
        index.range_search(np.zeros((1, 8), np.float32), 1)
    floats = INDEXES["exact"](np.eye(3, dtype=np.float32))
    with pytest.raises(
        InputError, match="queries are codes of 24 bits and the gallery has real-valued vectors of width 3"
    ):
        floats.search(random_codes(1, 1, 3), 1)
    with pytest.raises(InputError, match="width 2 and the gallery has real-valued vectors of width 3"):
        floats.search(np.zeros((1, 2), np.float32), 1)


@pytest.mark.parametrize("radius", [-1, 65])
def test_a_radius_out_of_range_is_refused(radius):
    with pytest.raises(InputError, match=f"between 0 and the code length, 64; it is {radius}"):
        HammingIndex(random_codes(0, 3, 8)).range_search(random_codes(1, 1, 8), radius)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize(("nbytes", "class_bits"), [(2, 8), (3, 5), (8, 32), (16, 100), (32, 128)])
@pytest.mark.parametrize("focus", [0.0, 0.3, 1.0])
def test_parts_are_weighed_as_by_sorting_everything(nbytes, class_bits, focus):
    """Equal scores keep the rows' order."""
    vectors, queries = random_codes(0, 40, nbytes), random_codes(1, 3, nbytes)
    signs, asked = unpack(vectors), unpack(queries)
    class_cosines, item_cosines = (
        asked[:, part] @ signs[:, part].T / np.float64(signs[:, part].shape[1])
        for part in (slice(class_bits), slice(class_bits, None))
    )
    expected = (1 - focus) * class_cosines + focus * item_cosines
    parts = CodeParts(class_bits, 8 * nbytes - class_bits, focus)
    allowed = np.arange(0, 40, 2)
    for filter, rows in ((None, np.arange(40)), (Filter(allowed), allowed)):
        scores, found = HammingIndex(vectors).search_parts(queries, 12, parts, filter)
        for query in range(len(queries)):
            order = rows[np.argsort(-expected[query, rows].round(9), kind="stable")[:12]]
            assert found[query].tolist() == order.tolist()
            assert scores[query] == pytest.approx(expected[query, order], abs=1e-6)


def test_equal_parts_in_the_middle_are_whole_codes():
    vectors, queries = random_codes(0, 40, 8), random_codes(1, 3, 8)
    parts = CodeParts(32, 32, 0.5)
    assert parts.is_plain
    assert not CodeParts(32, 32, 0.25).is_plain
    assert not CodeParts(24, 40, 0.5).is_plain
    by_parts, plain = HammingIndex(vectors).search_parts(queries, 12, parts), HammingIndex(vectors).search(queries, 12)
    assert by_parts[0] == pytest.approx(plain[0], abs=1e-6)
    assert by_parts[1].tolist() == plain[1].tolist()
