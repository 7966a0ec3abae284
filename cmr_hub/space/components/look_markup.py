"""The HTML of what a model looks at: the image and the text, as each of its steps weighs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from cmr_hub.retrieval.explanation import Explanation

from .images import data_uri
from .rendering import render

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


@dataclass(frozen=True)
class Word:
    """A word of the text.

    Attributes:
        text: the word.
        is_known: whether the model knows it.
        weight: its share of the step's weights; None where nothing is weighed.
        shade: the weight as a share of the step's largest.
    """

    text: str
    is_known: bool
    weight: float | None = None
    shade: float = 0.0


@dataclass(frozen=True)
class Look:
    """The image and the text as one step weighs them.

    Attributes:
        title: which step.
        image: as a data URI.
        alt: what the image shows, for those who do not see it.
        caption: the largest weights.
        words: of the text.
    """

    title: str
    image: str
    alt: str
    caption: str
    words: Sequence[Word]


def side_by_side(explanation: Explanation) -> Markup:
    """The image and the text, and next to them both again as each step weighs them.

    Words are text, shaded by their weights and followed by them for those who do not see the shades.
    """
    known = list(zip(explanation.words, explanation.known, strict=True))
    plain = [Word(word, is_known) for word, is_known in known]
    looks = [Look("Image and text", data_uri(explanation.image), "The image", "\N{NO-BREAK SPACE}", plain)]
    for step in range(explanation.steps):
        regions, weights = explanation.region_attention[step], explanation.word_attention[step]
        largest = weights.max(initial=0)
        words = [
            Word(word, is_known, weight, weight / (largest or 1))
            for (word, is_known), weight in zip(known, weights.tolist(), strict=True)
        ]
        alt = f"Step {step + 1} weighs {place_in_words(regions)} of the image most, one of {regions.size} regions"
        caption = f"largest: region {regions.max():.0%}, word {largest:.0%}"
        looks.append(Look(f"Step {step + 1}", data_uri(explanation.overlay(step)), alt, caption, words))
    return render("look", score=explanation.score, looks=looks, is_all_known=all(explanation.known))


def place_in_words(regions: np.ndarray) -> str:
    """Where the largest of `(rows, columns)` weights is, for those who do not see the heat map.

    Example:
    ```python
    >>> place_in_words(np.array([[0.1, 0.2], [0.3, 0.4]])), place_in_words(np.eye(3)[1:2])
    ('the bottom right', 'the middle')
    ```
    """
    (row, column), (rows, columns) = np.unravel_index(regions.argmax(), regions.shape), regions.shape
    vertical, horizontal = _third(int(row), rows), _third(int(column), columns)
    if (vertical, horizontal) == (1, 1):
        return "the middle"
    return f"the {ROWS[vertical]} {COLUMNS[horizontal]}"


def _third(position: int, count: int) -> int:
    """0, 1 or 2: the third of an edge that the middle of a cell is in."""
    return int(3 * (position + 0.5) / count)
