from __future__ import annotations

import numpy as np
import pytest

from cmr_hub.evaluation import number_texts, spread_captions

SETS = [["a", "b"], ["c"], ["d", "e", "f", "g"]]


@pytest.mark.parametrize(
    ("an_item", "captions", "caption_to_image"),
    [
        (None, "abcdefg", [0, 0, 1, 2, 2, 2, 2]),
        (1, "acd", [0, 1, 2]),
        (3, "abacccdef", [0, 0, 0, 1, 1, 1, 2, 2, 2]),
    ],
)
def test_items_count_with_as_many_captions_as_asked(an_item, captions, caption_to_image):
    found, found_owner = spread_captions(SETS, an_item)
    assert found == list(captions)
    np.testing.assert_array_equal(found_owner, caption_to_image)


def test_texts_are_equal_but_for_case_and_white_space():
    texts = ["Trees .", "trees.", " trees\t. ", "STRASSE", "straße", ""]
    assert number_texts(texts).tolist() == [0, 1, 0, 2, 2, 3]
