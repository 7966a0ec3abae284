"""Texts as the states that a network has at their words, in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch.nn.utils.rnn import pad_sequence

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import InputError

from .backends import Compute
from .parallel import map_in_order
from .sentence_transformers_models import MiniLMEncoder
from .transformers_models import TransformersTextEncoder


class WordStatesEncoder(TransformersTextEncoder):
    """A text as the network's states at its words, for methods that read words in order.

    A word is what the tokenizer takes for one (punctuation is a word of its own); its state is the mean over its
    pieces. `encode` gives `(n, longest, dim)` floats: as many rows as the longest text of the batch has words, zeros
    behind the words of others. A text without words is one row of zeros.

    Args:
        max_length: longer texts are cut to this many words.

    Raises:
        InputError: `max_length` is no whole number from 1.
    """

    input_name = "word_features"
    is_ragged = True
    mapped = True
    supports_mean_pooling = False

    def _use_max_length(self, max_length: int) -> None:
        if type(max_length) is not int or max_length < 1:
            raise InputError(f"max_length of {self.name} must be a whole number from 1, and is {max_length!r}.")
        self.max_length = max_length

    def _encode(self, inputs: Sequence[str]) -> torch.Tensor:
        read = self._read(inputs)
        self._warn_of_cuts(read)
        rows = [torch.zeros(1, self.dim) for _ in inputs]
        with_words = sorted((index for index, tokens in enumerate(read) if tokens), key=lambda index: len(read[index]))
        compute = self._computing(len(with_words))
        batches = self._batches(inputs, with_words, compute)
        for batch, states in map_in_order(
            lambda one: (one[0], self._states(one[1], compute)), batches, compute.workers
        ):
            for index, states_of_text in zip(batch, states, strict=True):
                rows[index] = states_of_text
        return pad_sequence(rows, batch_first=True) if rows else torch.empty(0, 0, self.dim)

    @torch.inference_mode()
    def _states(self, tokens: Any, compute: Compute) -> list[torch.Tensor]:
        """`(words, dim)` of each text."""
        states = compute(*tokens.values()).float().cpu()
        return [self._at_words(text, tokens.word_ids(row)) for row, text in enumerate(states)]

    def _at_words(self, states: torch.Tensor, word_of: Sequence[int | None]) -> torch.Tensor:
        """Means over the pieces of each word, `(tokens, dim)` to `(words, dim)`.

        Args:
            states: of tokens.
            word_of: number of each token's word; None of special tokens.
        """
        places = [place for place, word in enumerate(word_of) if word is not None]
        words = torch.tensor([word_of[place] for place in places])
        sums = torch.zeros(int(words.max()) + 1, states.shape[1]).index_add_(0, words, states[places])
        return (sums / words.bincount()[:, None])[: self.max_length]

    def words(self, text: str) -> list[str]:
        """The words at the positions of `encode([text])`; a text without words has one, the empty word."""
        with self._naming_model():
            tokens = self._tokens([text], self._window, add_special_tokens=False)
        count = max((word + 1 for word in tokens.word_ids(0) if word is not None), default=0)
        spans = [tokens.word_to_chars(0, word) for word in range(min(count, self.max_length))]
        return [text[span.start : span.end] for span in spans] or [""]


@register_encoder("text", "minilm-tokens")
class MiniLMTokensEncoder(WordStatesEncoder, MiniLMEncoder):
    """The states of all-MiniLM-L6-v2 at a text's words, 384 components each; see `WordStatesEncoder`.

    Args:
        max_length: longer texts are cut to this many words.

    Raises:
        InputError: `max_length` is no whole number from 1.

    Example:
    ```python
    >>> encoder = MiniLMTokensEncoder()
    >>> encoder.words("Two dogs, snowboarding")  # doctest: +SKIP
    ['Two', 'dogs', ',', 'snowboarding']
    >>> encoder.encode(["Two dogs, snowboarding", "a bird"]).shape  # doctest: +SKIP
    torch.Size([2, 4, 384])
    ```
    """

    def __init__(self, max_length: int = 50):
        super().__init__()
        self._use_max_length(max_length)

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "max_length": self.max_length}

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        return cls(config["max_length"])
