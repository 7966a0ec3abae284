"""What encoders with a vocabulary share: learning it from training texts, and the files that carry it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from cmr_hub.errors import CheckpointError, InputError, NotFittedError
from cmr_hub.utils.checkpoint_files import array_of, read_tensors, read_words

from .base import TextEncoder, check_texts, checkpoint_file
from .tokenise import tokenise

VOCABULARY_FILE = "text_vocabulary.json"
ARRAYS_FILE = "text_encoder.safetensors"


class VocabularyEncoder(TextEncoder):
    """A text encoder that knows the words of a vocabulary, which it learns from training texts.

    A subclass adds `encode`, and to `OPTIONS` the names of its own arguments; checkpoints then carry them.

    Args:
        max_features: keep only this many words, the most frequent of the fitted texts (ties: alphabetically first).
        min_count: keep only words that occur this often in all fitted texts together.
        vocabulary: the words in the order of their columns, instead of learning them with `fit`; `fit` otherwise
            orders them alphabetically.

    Raises:
        InputError: an option is less than 1, or the vocabulary names a word twice.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("max_features", "min_count")

    def __init__(self, max_features: int | None = None, min_count: int = 1, vocabulary: Sequence[str] | None = None):
        if min_count < 1 or (max_features is not None and max_features < 1):
            raise InputError(f"max_features ({max_features}) and min_count ({min_count}) must be 1 or more.")
        self.max_features, self.min_count = max_features, min_count
        self._column: dict[str, int] | None = None
        if vocabulary is not None:
            self._set_vocabulary(vocabulary)

    def _set_vocabulary(self, words: Sequence[str]) -> None:
        self._column = {word: column for column, word in enumerate(words)}
        if len(self._column) != len(words):
            raise InputError("the vocabulary names a word twice. Give each word once.")

    @property
    def vocabulary(self) -> list[str]:
        """The words in the order of their columns."""
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
        counts = Counter(word for text in check_texts(texts) for word in self._read(text))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: self.max_features]
        words = sorted(word for word, count in ranked if count >= self.min_count)
        if not words:
            raise InputError(
                f"the {len(texts)} texts hold no word that occurs {self.min_count} times. Give more texts."
            )
        self._set_vocabulary(words)
        return self

    def has_known_tokens(self, texts: Sequence[str]) -> list[bool]:
        columns = self._columns
        return [any(word in columns for word in self._read(text)) for text in check_texts(texts)]

    def read_words(self, text: str) -> list[tuple[str, bool]]:
        return [(word, word in self._columns) for word in self._read(text)]

    @property
    def _vocabulary_words(self) -> Iterable[str]:
        return self._columns

    def _read(self, text: str) -> list[str]:
        """The words of a text that count, in order, known or not."""
        return tokenise(text)

    def to_dict(self) -> dict[str, Any]:
        options = {option: getattr(self, option) for option in self.OPTIONS}
        return {"name": self.name, "modality": self.modality, **options}

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        encoder = cls(**{option: config[option] for option in cls.OPTIONS})
        encoder._set_vocabulary(read_vocabulary(folder, cls.name))
        return encoder

    def save_files(self, folder: Path) -> None:
        write_vocabulary(self.vocabulary, folder)

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        return (word.encode() + b"\n" for word in self.vocabulary)


def write_vocabulary(words: Sequence[str], folder: Path, name: str = VOCABULARY_FILE) -> None:
    """Write the words, in order, as a JSON list."""
    (Path(folder) / name).write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")


def read_vocabulary(folder: Path | None, encoder: str, name: str = VOCABULARY_FILE) -> list[str]:
    """The words that `write_vocabulary` wrote.

    Raises:
        CheckpointError: the file is missing or is not a list of different words.
    """
    return read_words(checkpoint_file(folder, name, encoder))


def read_array(folder: Path | None, encoder: str, name: str, ndim: int) -> np.ndarray:
    """A fitted text encoder's array of finite floats, as float32.

    Raises:
        CheckpointError: the file is missing or is no safetensors file, or has no such array, or one of zeros.
    """
    path = checkpoint_file(folder, ARRAYS_FILE, encoder)
    array = array_of(read_tensors(path), name, "f", ndim, path)
    if not array.any():
        raise CheckpointError(f"{name} in {path} is zero throughout, so that all texts would be one. Fetch it again.")
    return array.astype(np.float32, copy=False)
