"""Sums of embeddings against sums written out, and what cancels."""

import math

import numpy as np
import pytest

from cmr_hub.errors import InputError
from cmr_hub.modeling.combination import check_weight, combine


def rows(count, dim=8, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_inner_products_are_the_weighted_sums_of_cosines_up_to_a_factor():
    terms, others, weights = rows(3), rows(20, seed=1), [1, 0.5, -0.7]
    combined = combine(terms, weights)
    assert np.linalg.norm(combined) == pytest.approx(1, abs=1e-6)
    sums = sum(weight * others @ term for weight, term in zip(weights, terms, strict=True))
    ratio = (others @ combined) / sums
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    assert ratio[0] > 0


def test_lengths_of_rows_do_not_weigh():
    terms = rows(2)
    np.testing.assert_allclose(combine(terms * [[5], [0.2]], [1, 1]), combine(terms, [1, 1]), atol=1e-6)


def test_parts_are_summed_by_themselves():
    terms = rows(2)
    combined = combine(terms, [1, -0.5], class_dim=3)
    for part in (slice(0, 3), slice(3, 8)):
        units = [term[part] / np.linalg.norm(term[part]) for term in terms]
        expected = units[0] - 0.5 * units[1]
        np.testing.assert_allclose(combined[part], expected / np.linalg.norm(expected) / math.sqrt(2), atol=1e-6)


def test_a_part_that_cancels_leaves_the_other():
    first, second = rows(2)
    second[:3] = first[:3] / np.linalg.norm(first[:3]) * np.linalg.norm(second[:3])
    combined = combine(np.stack([first, second]), [1, -1], class_dim=3)
    assert not combined[:3].any()
    assert np.linalg.norm(combined[3:]) == pytest.approx(math.sqrt(0.5), abs=1e-6)


@pytest.mark.parametrize("class_dim", [None, 3])
def test_terms_that_cancel_are_refused(class_dim):
    term = rows(1)[0]
    almost = term + np.float32(1e-6)
    with pytest.raises(InputError, match="cancel each other out"):
        combine(np.stack([term, almost]), [2, -2], class_dim)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -float("inf"), "1", None, True, 1j])
def test_weights_are_finite_numbers(weight):
    with pytest.raises(InputError, match="finite number"):
        check_weight(weight)


def test_weights_of_numpy_are_numbers():
    assert check_weight(np.float32(0.5)) == 0.5
    assert check_weight(np.int64(-2)) == -2.0
