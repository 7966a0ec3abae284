"""Queries with a focus against cosines of the parts, computed one by one."""

import numpy as np
import pytest

from cmr_hub.errors import InputError
from cmr_hub.modeling import codes
from cmr_hub.modeling.embeddings import as_vectors
from cmr_hub.modeling.parts import check_focus, focus_scale, focused

CLASS = 3  # width of the class part


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def vectors():
    random = np.random.default_rng(0)
    rows = [unit(random.normal(size=(6, width))) for width in (CLASS, 5)]
    return (np.concatenate(rows, axis=1) / np.sqrt(2)).astype(np.float32)


@pytest.fixture
def packed():
    return np.random.default_rng(0).integers(0, 256, (6, 2), np.uint8)  # 8 bits of class, 8 of the item


def cosine(a, b):
    return float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))


@pytest.mark.parametrize("focus", [0, 0.2, 0.5, 0.9, 1])
@pytest.mark.parametrize("kind", ["vectors", "packed"])
def test_scores_are_weighted_means_of_the_parts_cosines(request, kind, focus):
    embeds = request.getfixturevalue(kind)
    class_dim, rows = (CLASS, embeds) if kind == "vectors" else (8, codes.unpack(embeds))
    queries, gallery = focused(embeds[:2], class_dim, focus), as_vectors(embeds)
    scores = focus_scale(focus) * queries @ gallery.T
    assert queries.dtype == np.float32
    assert np.linalg.norm(queries, axis=1) == pytest.approx(1, abs=1e-6)
    for query in range(2):
        for item in range(6):
            of_class = cosine(rows[query, :class_dim], rows[item, :class_dim])
            of_item = cosine(rows[query, class_dim:], rows[item, class_dim:])
            assert scores[query, item] == pytest.approx((1 - focus) * of_class + focus * of_item, abs=1e-5)


def test_the_middle_leaves_queries_as_they_are(vectors):
    before = vectors.copy()
    assert focused(vectors, CLASS, 0.5) == pytest.approx(vectors, abs=1e-6)
    focused(vectors, CLASS, 0.0)
    assert (vectors == before).all()


def test_a_row_of_zeros_stays():
    assert not focused(np.zeros((1, 8), np.float32), CLASS, 0.3).any()


@pytest.mark.parametrize("focus", [-0.1, 1.1, float("nan"), True, "0.5", None])
def test_a_focus_is_a_number_from_0_to_1(focus):
    with pytest.raises(InputError, match="focus must be a number from 0"):
        check_focus(focus)


def test_a_focus_may_be_numpys():
    assert check_focus(np.float32(0.5)) == 0.5
