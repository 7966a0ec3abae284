"""Which of the things that words stand for the texts of a data set name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cmr_hub.encoders.tokenise import tokenise
from cmr_hub.errors import InputError
from cmr_hub.utils.located_yaml import load_yaml

Words = Mapping[str, Sequence[str]]


def plain(texts: Sequence[str]) -> str:
    """The words of an item's texts in one line, in which [`pattern_of`] finds words."""
    return " | ".join(" ".join(tokenise(text)) for text in texts)  # no word is "|": no phrase spans two texts


def pattern_of(words: Sequence[str]) -> re.Pattern[str]:
    """What finds one of the words, or its plural, in a text made [`plain`].

    Example:
    ```python
    >>> said = plain(["Two churches.", "A parking lot"])
    >>> [bool(pattern_of([word]).search(said)) for word in ("church", "parking lot", "park", "churches a")]
    [True, True, False, False]
    ```
    """
    named = "|".join(re.escape(" ".join(tokenise(word))) for word in words)
    return re.compile(rf"(?<!\S)(?:{named})(?:e?s)?(?!\S)")


def named_in(texts: Sequence[Sequence[str]], words: Words) -> np.ndarray:
    """Which things the texts of items name: `(items, things)` booleans.

    Args:
        texts: of each item.
        words: thing -> the words (or several in a row) that name it, in the singular or as they stand.

    Example:
    ```python
    >>> named_in([["Two churches."], ["A red car", "a car"]], {"a church": ["church"], "a car": ["car"]}).tolist()
    [[True, False], [False, True]]
    ```
    """
    patterns = [pattern_of(naming) for naming in words.values()]
    return np.array([[pattern.search(plain(said)) is not None for pattern in patterns] for said in texts])


def without_words(said: str, words: Words) -> str:
    """A text made [`plain`] without the words that name things.

    Example:
    ```python
    >>> " ".join(without_words("a red car", {"red": ["red"], "blue": ["blue"]}).split())
    'a car'
    ```
    """
    return pattern_of([word for naming in words.values() for word in naming]).sub("", said)


def read_words(path: Path, example: str) -> Words:
    """Things and the words that name them, from a YAML file.

    Args:
        path: the file.
        example: a line of such a file, for the error.

    Raises:
        InputError: the file is missing or holds something else.
    """
    content = load_yaml(path)
    if not all(
        words and isinstance(words, list) and all(isinstance(word, str) for word in (thing, *words))
        for thing, words in content.items()
    ):
        raise InputError(f"{path} must hold lines as `{example}`.")
    return content
