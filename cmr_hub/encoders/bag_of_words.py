"""Texts as counts of the words of a fitted vocabulary, plain (BoW) or weighted by rarity (TF-IDF)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.numpy import save_file

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import CheckpointError

from .base import check_texts
from .vocabulary import ARRAYS_FILE, VocabularyEncoder, read_array


@register_encoder("text", "bow")
class BagOfWordsEncoder(VocabularyEncoder):
    """Term counts over a vocabulary: component j says how often word j occurs in the text.

    Words outside the vocabulary count nothing; a text without any known word is the zero vector.

    Args:
        max_features: as in `VocabularyEncoder`.
        min_count: as in `VocabularyEncoder`.
        binary: say whether a word occurs (1) instead of how often.
        vocabulary: as in `VocabularyEncoder`; the order of the components.

    Example:
    ```python
    >>> encoder = BagOfWordsEncoder().fit(["a red bird", "a blue bird"])
    >>> encoder.vocabulary
    ['a', 'bird', 'blue', 'red']
    >>> encoder.encode(["Bird! Red bird!"]).tolist()
    [[0.0, 2.0, 0.0, 1.0]]
    ```
    """

    limits = (
        "A text is the counts of its words: word order and negation are lost, a word is no closer to its synonym than "
        "to any other, and words outside the vocabulary count nothing."
    )
    OPTIONS = (*VocabularyEncoder.OPTIONS, "binary")

    def __init__(
        self,
        max_features: int | None = None,
        min_count: int = 1,
        binary: bool = False,
        vocabulary: Sequence[str] | None = None,
    ):
        super().__init__(max_features, min_count, vocabulary)
        self.binary = binary

    def encode(self, inputs: Sequence[str]) -> torch.Tensor:
        vectors = torch.from_numpy(self._counts(inputs))
        return vectors.clamp_(max=1) if self.binary else vectors

    def _counts(self, texts: Sequence[str]) -> np.ndarray:
        """`float32` of shape `(n, dim)`: how often each word occurs in each text."""
        columns = self._columns
        counts = np.zeros((len(texts), len(columns)), np.float32)
        for row, text in zip(counts, check_texts(texts), strict=True):
            known = [columns[word] for word in self._read(text) if word in columns]
            np.add.at(row, known, 1)
        return counts


@register_encoder("text", "tfidf")
class TfidfEncoder(BagOfWordsEncoder):
    """Term counts weighted by how rare a word is, as rows of unit length.

    x_j = count_j * idf_j with idf_j = ln((1 + n) / (1 + df_j)) + 1, where df_j of the n fitted texts hold word j; the
    row is then divided by its Euclidean length (a text without any known word stays the zero vector). This is
    scikit-learn's default.

    Args:
        max_features: as in `VocabularyEncoder`.
        min_count: as in `VocabularyEncoder`.
        binary: as in `BagOfWordsEncoder`.

    Example:
    ```python
    >>> encoder = TfidfEncoder().fit(["a red bird", "a blue bird"])
    >>> encoder.encode(["red", "?"]).tolist()
    [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    ```
    """

    idf: np.ndarray

    def __init__(self, max_features: int | None = None, min_count: int = 1, binary: bool = False):
        super().__init__(max_features, min_count, binary)

    def fit(self, texts: Sequence[str]) -> Self:
        super().fit(texts)
        columns = self._columns
        frequency = np.zeros(len(columns))
        for text in texts:
            frequency[[columns[word] for word in set(self._read(text)) if word in columns]] += 1
        self.idf = (np.log((1 + len(texts)) / (1 + frequency)) + 1).astype(np.float32)
        return self

    def encode(self, inputs: Sequence[str]) -> torch.Tensor:
        return torch.nn.functional.normalize(super().encode(inputs) * torch.from_numpy(self.idf))

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        encoder = super().from_dict(config, folder)
        encoder.idf = read_array(folder, cls.name, "idf", 1)
        if encoder.idf.shape != (encoder.dim,):
            raise CheckpointError(f"{ARRAYS_FILE} has {encoder.idf.shape} weights for {encoder.dim} words.")
        return encoder

    def save_files(self, folder: Path) -> None:
        super().save_files(folder)
        save_file({"idf": self.idf}, Path(folder) / ARRAYS_FILE)

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        return [*super()._fitted_parts(), self.idf.data]
