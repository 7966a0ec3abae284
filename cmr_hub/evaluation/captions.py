"""Captions as texts of their own: how many an item counts with, and which of them are the same words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spread_captions(sets: Sequence[Sequence[str]], an_item: int | None = None) -> tuple[list[str], np.ndarray]:
    """Captions in a row, and for each of them whose it is.

    Args:
        sets: for each item its captions, one at least.
        an_item: how many each item counts with: further captions are left out, and missing ones are its own again, in
            turn. By default all of them, once.

    Returns:
        `m` captions, item by item, and an `(m,)` int64 array of items.

    Example:
    ```python
    >>> spread_captions([["a dog", "a puppy"], ["a cat"]], an_item=3)[0]
    ['a dog', 'a puppy', 'a dog', 'a cat', 'a cat', 'a cat']
    ```
    """
    counted = [[own[turn % len(own)] for turn in range(an_item or len(own))] for own in sets]
    caption_to_image = np.repeat(np.arange(len(sets)), [len(own) for own in counted])
    return [caption for own in counted for caption in own], caption_to_image


def number_texts(texts: Sequence[str]) -> np.ndarray:
    """`(m,)` int64 numbers, equal where two texts are word for word: but for case and white space the same.

    Example:
    ```python
    >>> number_texts(["A dog.", "a cat.", "a  dog. "]).tolist()
    [0, 1, 0]
    ```
    """
    seen: dict[str, int] = {}
    words = (" ".join(text.split()).casefold() for text in texts)
    return np.fromiter((seen.setdefault(text, len(seen)) for text in words), np.int64, len(texts))
