"""Texts as their words in order, for methods that bring a text network of their own and train it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import InputError, UnknownNameError

from .base import check_texts
from .glove import GloveEncoder
from .vocabulary import VocabularyEncoder

PADDING, UNKNOWN = 0, 1
# The numbers that are no word of the vocabulary.
RESERVED = 2
VECTORS = {"glove": GloveEncoder}


@register_encoder("text", "tokens")
class TokensEncoder(VocabularyEncoder):
    """The numbers of a text's words, in order: 0 is padding, 1 an unknown word, 2 the vocabulary's first word.

    `encode` gives `torch.int64` of shape `(n, longest)`: as wide as the longest text of the batch, the others padded
    at the end. A text without words (empty, blank, emoji alone) is one unknown word, so that there is something to
    attend to. `dim` is the width of a one-hot word: the vocabulary and the two numbers before it.

    Args:
        max_features: as in `VocabularyEncoder`.
        min_count: as in `VocabularyEncoder`.
        max_length: longer texts are cut to this many words.
        vectors: what a method's word vectors start from; see `initial_vectors`. "glove" for the packaged vectors of
            `GloveEncoder`, None for a start by chance.
        vocabulary: as in `VocabularyEncoder`; the first word's number is 2.

    Raises:
        InputError: an option that is no whole number from 1, or a vocabulary that names a word twice.
        UnknownNameError: there are no such vectors.

    Example:
    ```python
    >>> encoder = TokensEncoder().fit(["a red bird", "a blue bird"])
    >>> encoder.vocabulary
    ['a', 'bird', 'blue', 'red']
    >>> encoder.encode(["Red bird!", "a green bird sings", ""]).tolist()
    [[5, 3, 0, 0], [2, 1, 3, 1], [1, 0, 0, 0]]
    ```
    """

    supports_mean_pooling = False
    input_name = "input_ids"
    limits = (
        "A text is its words in order, up to the encoder's `max_length`; what follows is not read. Words outside the "
        "training texts' vocabulary are all the same unknown word, and capitals, punctuation and emoji are lost. Word "
        "vectors that start from GloVe carry the biases of the texts that those were learned from."
    )
    OPTIONS = (*VocabularyEncoder.OPTIONS, "max_length", "vectors")

    def __init__(
        self,
        max_features: int | None = None,
        min_count: int = 1,
        max_length: int = 50,
        vectors: Literal["glove"] | None = None,
        vocabulary: Sequence[str] | None = None,
    ):
        super().__init__(max_features, min_count, vocabulary)
        if not isinstance(max_length, int) or max_length < 1:
            raise InputError(f"max_length of tokens must be a whole number from 1, and is {max_length!r}.")
        if vectors is not None and vectors not in VECTORS:
            raise UnknownNameError("source of word vectors", vectors, VECTORS)
        self.max_length, self.vectors = max_length, vectors

    @property
    def dim(self) -> int:
        return RESERVED + super().dim

    def encode(self, inputs: Sequence[str]) -> torch.Tensor:
        columns = self._columns
        rows = []
        for text in check_texts(inputs):
            numbers = [RESERVED + columns[word] if word in columns else UNKNOWN for word in self._read(text)]
            rows.append(torch.tensor(numbers or [UNKNOWN]))
        if not rows:
            return torch.empty(0, 0, dtype=torch.int64)
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING)

    def as_inputs(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """The numbers as `input_ids`, and an `attention_mask` of the same shape: 1 at words, 0 at padding.

        Example:
        ```python
        >>> encoder = TokensEncoder(vocabulary=["bird", "red"])
        >>> encoder.as_inputs(encoder.encode(["red bird", "?"]))["attention_mask"].tolist()
        [[1, 1], [1, 0]]
        ```
        """
        return {self.input_name: features, "attention_mask": (features != PADDING).long()}

    def words(self, text: str) -> list[str]:
        """The words at the positions of `encode([text])`; a text without words has one, the empty word.

        Example:
        ```python
        >>> TokensEncoder(max_length=3).words("Two red birds, singing")
        ['two', 'red', 'birds']
        ```
        """
        return self._read(text) or [""]

    def _read(self, text: str) -> list[str]:
        return super()._read(text)[: self.max_length]

    def initial_vectors(self) -> np.ndarray | None:
        """What a method's word vectors start from.

        Returns:
            `float32` of shape `(dim, width)`, where GloVe is 50 wide: zero rows for padding, the unknown word and
            words that have no vector. None where `vectors` is None.

        Raises:
            NotFittedError: there is no vocabulary yet.
        """
        if self.vectors is None:
            return None
        vectors = VECTORS[self.vectors]().vectors_of(self.vocabulary)
        return np.pad(vectors, ((RESERVED, 0), (0, 0)))
