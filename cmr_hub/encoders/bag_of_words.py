"""Texts as counts of the words of a fitted vocabulary, plain (BoW) or weighted by rarity (TF-IDF)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from ..errors import CheckpointError, InputError, NotFittedError
from .base import TextEncoder, check_texts, checkpoint_file
from .tokenise import tokenise

VOCABULARY_FILE = "text_vocabulary.json"
ARRAYS_FILE = "text_encoder.safetensors"


class BagOfWordsEncoder(TextEncoder):
    """Term counts over a vocabulary: component j says how often word j occurs in the text.

    Words outside the vocabulary count nothing; a text without any known word is the zero vector.

    Args:
        max_features: keep only this many words, the most frequent of the fitted texts (ties: alphabetically first).
        min_count: keep only words that occur this often in all fitted texts together.
        binary: say whether a word occurs (1) instead of how often.
        vocabulary: the words in the order of the components, instead of learning them with `fit`; `fit` otherwise
            orders them alphabetically.

    Example:

    ```python
    >>> encoder = BagOfWordsEncoder().fit(["a red bird", "a blue bird"])
    >>> encoder.vocabulary
    ['a', 'bird', 'blue', 'red']
    >>> encoder.encode(["Bird! Red bird!"]).tolist()
    [[0.0, 2.0, 0.0, 1.0]]
    ```
    """

    name = "bow"
    limits = (
        "A text is the counts of its words: word order and negation are lost, a word is no closer to its synonym than "
        "to any other, and words outside the vocabulary count nothing."
    )

    def __init__(
        self,
        max_features: int | None = None,
        min_count: int = 1,
        binary: bool = False,
        vocabulary: Sequence[str] | None = None,
    ):
        if min_count < 1 or (max_features is not None and max_features < 1):
            raise InputError(f"max_features ({max_features}) and min_count ({min_count}) must be 1 or more.")
        self.max_features, self.min_count, self.binary = max_features, min_count, binary
        self._column: dict[str, int] | None = None
        if vocabulary is not None:
            self._set_vocabulary(vocabulary)

    def _set_vocabulary(self, words: Sequence[str]) -> None:
        self._column = {word: column for column, word in enumerate(words)}
        if len(self._column) != len(words):
            raise InputError("the vocabulary names a word twice. Give each word once.")

    @property
    def vocabulary(self) -> list[str]:
        """The words in the order of the components."""
        return list(self._columns)

    @property
    def dim(self) -> int:
        return len(self._columns)

    @property
    def _columns(self) -> dict[str, int]:
        if self._column is None:
            raise NotFittedError(f"The encoder {self.name!r} has no vocabulary yet. Call fit(training texts) first.")
        return self._column

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn the vocabulary from training texts.

        Raises:
            InputError: the texts hold no word that occurs `min_count` times.
        """
        counts = Counter(word for text in check_texts(texts) for word in tokenise(text))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: self.max_features]
        words = sorted(word for word, count in ranked if count >= self.min_count)
        if not words:
            raise InputError(
                f"the {len(texts)} texts hold no word that occurs {self.min_count} times. Give more texts."
            )
        self._set_vocabulary(words)
        return self

    def encode(self, inputs: Sequence[str]) -> torch.Tensor:
        vectors = torch.from_numpy(self._counts(inputs))
        return vectors.clamp_(max=1) if self.binary else vectors

    def _counts(self, texts: Sequence[str]) -> np.ndarray:
        """`float32` of shape `(n, dim)`: how often each word occurs in each text."""
        columns = self._columns
        counts = np.zeros((len(texts), len(columns)), np.float32)
        for row, text in zip(counts, check_texts(texts), strict=True):
            known = [columns[word] for word in tokenise(text) if word in columns]
            np.add.at(row, known, 1)
        return counts

    def knows(self, texts: Sequence[str]) -> list[bool]:
        columns = self._columns
        return [any(word in columns for word in tokenise(text)) for text in check_texts(texts)]

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "modality": self.modality,
            "max_features": self.max_features,
            "min_count": self.min_count,
            "binary": self.binary,
        }

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        encoder = cls(config["max_features"], config["min_count"], config["binary"])
        encoder._set_vocabulary(read_vocabulary(folder, cls.name))
        return encoder

    def save_files(self, folder: Path) -> None:
        write_vocabulary(self.vocabulary, folder)

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        return (word.encode() + b"\n" for word in self.vocabulary)


class TfidfEncoder(BagOfWordsEncoder):
    """Term counts weighted by how rare a word is, as rows of unit length.

    x_j = count_j * idf_j with idf_j = ln((1 + n) / (1 + df_j)) + 1, where df_j of the n fitted texts hold word j; the
    row is then divided by its Euclidean length (a text without any known word stays the zero vector). This is
    scikit-learn's default.

    Args:
        max_features: as in `BagOfWordsEncoder`.
        min_count: as in `BagOfWordsEncoder`.
        binary: as in `BagOfWordsEncoder`.

    Example:

    ```python
    >>> encoder = TfidfEncoder().fit(["a red bird", "a blue bird"])
    >>> encoder.encode(["red", "?"]).tolist()
    [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    ```
    """

    name = "tfidf"
    idf: np.ndarray

    def __init__(self, max_features: int | None = None, min_count: int = 1, binary: bool = False):
        super().__init__(max_features, min_count, binary)

    def fit(self, texts: Sequence[str]) -> Self:
        super().fit(texts)
        columns = self._columns
        frequency = np.zeros(len(columns))
        for text in texts:
            frequency[[columns[word] for word in set(tokenise(text)) if word in columns]] += 1
        self.idf = (np.log((1 + len(texts)) / (1 + frequency)) + 1).astype(np.float32)
        return self

    def encode(self, inputs: Sequence[str]) -> torch.Tensor:
        return torch.nn.functional.normalize(super().encode(inputs) * torch.from_numpy(self.idf))

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        encoder = super().from_dict(config, folder)
        encoder.idf = read_arrays(folder, cls.name)["idf"]
        if encoder.idf.shape != (encoder.dim,):
            raise CheckpointError(f"{ARRAYS_FILE} has {encoder.idf.shape} weights for {encoder.dim} words.")
        return encoder

    def save_files(self, folder: Path) -> None:
        super().save_files(folder)
        save_file({"idf": self.idf}, Path(folder) / ARRAYS_FILE)

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        return [*super()._fitted_parts(), self.idf.data]


def write_vocabulary(words: Sequence[str], folder: Path) -> None:
    """Write the words, in order, as a JSON list."""
    (Path(folder) / VOCABULARY_FILE).write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")


def read_vocabulary(folder: Path | None, encoder: str) -> list[str]:
    """The words that `write_vocabulary` wrote.

    Raises:
        CheckpointError: the file is missing or is not a list of different words.
    """
    path = checkpoint_file(folder, VOCABULARY_FILE, encoder)
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not readable as JSON ({error}). Fetch it again.") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or len(set(words)) < len(words):
        raise CheckpointError(f"{path} is not a list of different words. Fetch it again.")
    return words


def read_arrays(folder: Path | None, encoder: str) -> dict[str, np.ndarray]:
    """The arrays of a fitted text encoder.

    Raises:
        CheckpointError: the file is missing or is no safetensors file.
    """
    path = checkpoint_file(folder, ARRAYS_FILE, encoder)
    try:
        return load_file(path)
    except Exception as error:  # the reader's own error class derives from Exception alone
        raise CheckpointError(f"{path} is not readable as safetensors ({error}). Fetch it again.") from error
