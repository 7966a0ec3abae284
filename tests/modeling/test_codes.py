import logging

import numpy as np
import pytest
import torch

from cmr_hub.modeling import codes


def random_codes(n, nbytes, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, nbytes), dtype=np.uint8)


def test_packing_keeps_signs_in_order():
    values = torch.randn(7, 24)
    packed = codes.pack(values)
    assert packed.shape == (7, 3)
    assert packed.dtype == np.uint8
    for row, signs in zip(packed, values > 0, strict=True):
        bits = "".join(f"{byte:08b}" for byte in row)
        assert bits == "".join(str(int(sign)) for sign in signs)


def test_zero_and_below_are_minus_one():
    assert codes.unpack(codes.pack(torch.tensor([[0.0, -0.0, -1.0, 1.0] * 2]))).tolist() == [[-1, -1, -1, 1] * 2]


def test_unpacking_undoes_packing():
    packed = random_codes(5, 4)
    np.testing.assert_array_equal(codes.pack(torch.from_numpy(codes.unpack(packed))), packed)


@pytest.mark.parametrize(
    ("nbytes", "words", "size"), [(1, 1, 1), (2, 1, 2), (3, 3, 1), (4, 1, 4), (8, 1, 8), (16, 2, 8)]
)
def test_words_hold_the_same_bits_without_a_copy(nbytes, words, size):
    packed = random_codes(6, nbytes)
    as_words = codes.as_words(packed)
    assert as_words.shape == (6, words)
    assert as_words.dtype.itemsize == size
    assert np.shares_memory(as_words, packed)
    np.testing.assert_array_equal(np.bitwise_count(as_words).sum(axis=1), (codes.unpack(packed) > 0).sum(axis=1))


def with_bits(**columns):
    """Random signs of 40 items and 16 bits, with some columns replaced."""
    signs = np.sign(np.random.default_rng(1).standard_normal((40, 16)))
    for name, column in columns.items():
        signs[:, int(name.removeprefix("bit"))] = column(signs) if callable(column) else column
    return codes.pack(torch.from_numpy(signs))


def test_good_codes_are_not_degenerate():
    assert not codes.degeneracy(with_bits())


def test_constant_bits_are_named():
    found = codes.degeneracy(with_bits(bit3=1, bit9=-1))
    assert found.constant == (3, 9)
    assert found.redundant == ()
    assert not found.one_code
    assert "of 16 bits, counted from 0, 2 are constant (3, 9): a shorter code" in str(found)


def test_bits_that_repeat_or_oppose_another_are_named_once():
    found = codes.degeneracy(with_bits(bit5=lambda s: s[:, 2], bit6=lambda s: -s[:, 2], bit8=1))
    assert found.redundant == ((2, 5), (2, 6))
    assert "2 are copies or opposites of others (5 repeats 2, 6 repeats 2)" in str(found)
    assert "1 are constant (8)" in str(found)


def test_one_code_for_all():
    found = codes.degeneracy(np.repeat(random_codes(1, 2), 40, axis=0))
    assert found.one_code
    assert str(found).startswith("all items have the same code of 16 bits")


def test_the_warning_says_what_it_is_about_and_a_handful_is_no_evidence(caplog):
    same = np.repeat(random_codes(1, 2), codes.FEW_ITEMS, axis=0)
    with caplog.at_level(logging.WARNING):
        codes.warn_if_degenerate(same[:-1], "few")
        codes.warn_if_degenerate(with_bits(), "good ones")
        assert not caplog.records
        codes.warn_if_degenerate(same, "training images")
    assert "Degenerate codes of the training images: all items have the same code" in caplog.text


def test_long_lists_of_bits_are_cut():
    found = codes.degeneracy(with_bits(**{f"bit{bit}": 1 for bit in range(14)}))
    assert "(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, and 2 more)" in str(found)
