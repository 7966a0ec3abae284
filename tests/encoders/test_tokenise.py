"""The one rule by which texts become words."""

import pytest

from cmr_hub.encoders.tokenise import tokenise


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n", []),
        ("A Dog, a CAT.", ["a", "dog", "a", "cat"]),
        ("the dog's bone", ["the", "dog", "bone"]),
        ("the dog\u2019s bone", ["the", "dog", "bone"]),
        ("they're here, I'd say", ["they", "here", "i", "say"]),
        ("it doesn't", ["it", "does", "n't"]),
        ("5 o'clock", ["5", "o'clock"]),
        ("red-haired smiling_cat", ["red", "haired", "smiling", "cat"]),
        ("3.5 of 3,000 in 1990s.", ["3.5", "of", "3,000", "in", "1990s"]),
        ("'quoted'", ["quoted"]),
        ("cafe\u0301 ＣＡＦÉ", ["café", "café"]),
        ("собака бежит", ["собака", "бежит"]),
        ("हिन्दी शब्द", ["हिन्दी", "शब्द"]),
        ("红色的鸟", ["红", "色", "的", "鸟"]),
        ("❤️😀👩‍👩‍👧🇫🇷", []),
        ("cat😺dog", ["cat", "dog"]),
    ],
)
def test_words(text, words):
    assert tokenise(text) == words
