"""Texts as the mean of their words' vectors, wherever the vectors come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from cmr_hub.errors import CheckpointError, InputError, NotFittedError

from .base import TextEncoder, check_texts
from .tokenise import tokenise
from .vocabulary import ARRAYS_FILE, read_array, read_vocabulary, write_vocabulary


class WordVectorEncoder(TextEncoder):
    """The plain mean of the vectors of a text's known words, as papers use it; each occurrence counts.

    Words are those of `tokenise`. Words without a vector are left out; a text without any known word (empty, blank,
    emoji alone, a script that the vectors do not cover) is the zero vector, and `has_known_tokens` is False for it.

    A subclass hands its vectors to `_keep`; checkpoints then carry them.
    """

    limits = (
        "A text is the mean of its words' vectors: word order and negation are lost, and words outside the vocabulary "
        "count nothing. The vectors carry the biases of the texts that they were learned from."
    )
    _own: tuple[list[str], np.ndarray] | None = None

    def _keep(self, words: Sequence[str], vectors: np.ndarray) -> None:
        """Use these vectors, `(len(words), dim)`, rounded to float16, from now on."""
        if vectors.ndim != 2 or len(words) != len(vectors):
            raise InputError(f"{len(words)} words have vectors of shape {vectors.shape}. Give one vector a word.")
        self._own = list(words), vectors.astype(np.float16)
        self.__dict__.pop("_rows", None)

    def _table(self) -> tuple[list[str], np.ndarray]:
        if self._own is None:
            raise NotFittedError(f"The encoder {self.name!r} has no word vectors yet. Call fit(training texts) first.")
        return self._own

    @property
    def _words(self) -> Sequence[str]:
        return self._table()[0]

    @property
    def _vectors(self) -> np.ndarray:
        """`(words, dim)`."""
        return self._table()[1]

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self._words)}

    def vectors_of(self, words: Sequence[str]) -> np.ndarray:
        """The vectors of single words, as they are spelt here.

        Args:
            words: `n` words, in lower case as `tokenise` gives them.

        Returns:
            `float32` of shape `(n, dim)`; a word without a vector has the zero vector.

        Example:
        ```python
        >>> from cmr_hub.encoders.glove import GloveEncoder
        >>> GloveEncoder(["red", "bird"], np.eye(2)).vectors_of(["bird", "cat"]).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
        ```
        """
        vectors = np.zeros((len(words), self.dim), np.float32)
        known = [position for position, word in enumerate(words) if word in self._rows]
        vectors[known] = self._vectors[[self._rows[words[position]] for position in known]]
        return vectors

    def encode(self, inputs: Sequence[str]) -> torch.Tensor:
        features = np.zeros((len(inputs), self.dim), np.float32)
        for feature, text in zip(features, check_texts(inputs), strict=True):
            if known := self._known(text):
                # Each different word's vector is read once, however long the text.
                rows, counts = np.unique(known, return_counts=True)
                feature[:] = counts @ self._vectors[rows].astype(np.float32) / len(known)
        return torch.from_numpy(features)

    def has_known_tokens(self, texts: Sequence[str]) -> list[bool]:
        return [bool(self._known(text)) for text in check_texts(texts)]

    def read_words(self, text: str) -> list[tuple[str, bool]]:
        return [(word, word in self._rows) for word in tokenise(text)]

    @property
    def _vocabulary_words(self) -> Iterable[str]:
        return self._words

    def _known(self, text: str) -> list[int]:
        rows = self._rows
        return [rows[word] for word in tokenise(text) if word in rows]

    def save_files(self, folder: Path) -> None:
        words, vectors = self._table()
        write_vocabulary(words, folder)
        save_file({"vectors": vectors}, Path(folder) / ARRAYS_FILE)

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        words, vectors = self._table()
        yield "\n".join(words).encode()
        yield vectors.data


def read_word_vectors(folder: Path | None, encoder: str, dim: int) -> tuple[list[str], np.ndarray]:
    """The words and vectors that `WordVectorEncoder.save_files` left in a checkpoint.

    Raises:
        CheckpointError: a file is missing or damaged, or the vectors are of another number or width.
    """
    words, vectors = read_vocabulary(folder, encoder), read_array(folder, encoder, "vectors", 2)
    if vectors.shape != (len(words), dim):
        raise CheckpointError(
            f"{ARRAYS_FILE} has vectors of shape {vectors.shape}, but the checkpoint speaks of {len(words)} words of "
            f"width {dim}. Fetch it again."
        )
    return words, vectors
