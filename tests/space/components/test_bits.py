from __future__ import annotations

import re

import numpy as np
import pytest

from cmr_hub.space.components.bits import bit_pattern, differing, distance_in_words


def code(*bits: int) -> np.ndarray:
    return np.packbits(bits)


def squares(pattern: str, kind: str) -> int:
    found = re.search(rf'class="cmr-{kind}" d="([^"]*)"', pattern)
    return found[1].count("M") if found else 0


@pytest.mark.parametrize("bits", [8, 16, 64, 128])
def test_every_bit_is_a_square_and_differing_ones_are_marked(bits: int):
    first, second = np.random.default_rng(0).integers(0, 256, (2, bits // 8), np.uint8)
    texts = (f"{int.from_bytes(each.tobytes()):0{bits}b}" for each in (first, second))
    slow = [i for i, (a, b) in enumerate(zip(*texts, strict=True)) if a != b]
    assert differing(first, second).tolist() == slow
    pattern = bit_pattern("Image", first, second)
    on = int.from_bytes(first.tobytes()).bit_count()
    assert [squares(pattern, kind) for kind in ("on", "off", "differs")] == [on, bits - on, len(slow)]


def test_squares_are_where_their_bits_are():
    pattern = bit_pattern("Text", code(0, 1, *[0] * 6, *[0] * 7, 1))
    assert 'viewBox="0 0 80 20"' in pattern
    assert 'class="cmr-on" d="M11 1h8v8h-8zM71 11h8v8h-8z"' in pattern
    assert "cmr-differs" not in pattern


def test_long_codes_have_longer_rows():
    assert 'viewBox="0 0 80 80"' in bit_pattern("Text", np.zeros(8, np.uint8))
    assert 'viewBox="0 0 160 80"' in bit_pattern("Text", np.zeros(16, np.uint8))


def test_the_alternative_text_says_it_all_and_is_escaped():
    pattern = bit_pattern("<Image>", code(1, 0, 1, 0, 1, 1, 1, 1), code(1, 0, 1, 0, 1, 1, 0, 0))
    alternative = "&lt;Image&gt;: 8 bits, in hexadecimal af; 2 of them marked as different"
    assert f'aria-label="{alternative}"' in pattern
    assert "<figcaption>&lt;Image&gt;</figcaption>" in pattern


def test_distances_in_words():
    assert distance_in_words(code(1, 0, 1, 0, 1, 1, 1, 1), code(1, 0, 1, 0, 1, 1, 0, 0)) == "differ in 2 of 8 bits"
    assert distance_in_words(code(*[1] * 8), code(*[1] * 8)) == "have the same 8 bits"
