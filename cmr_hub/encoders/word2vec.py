"""Texts as the mean of word vectors learned from the training texts themselves (Mikolov et al., ICLR 2013)."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.utils.extras import require

from .base import check_texts
from .tokenise import tokenise
from .word_vectors import WordVectorEncoder, read_word_vectors

logger = logging.getLogger(__name__)

ALGORITHMS = ("cbow", "skip-gram")


@register_encoder("text", "word2vec")
class Word2VecEncoder(WordVectorEncoder):
    """The mean of a text's word2vec vectors, trained by gensim on the training texts; see `WordVectorEncoder`.

    One thread trains, from a fixed seed: the same texts give the same vectors in every process. Data sets of retrieval
    are small next to the corpora that word2vec was made for, hence every word counts by default, and the smaller the
    texts the more often they are read (on the 4,300 words of the emoji names, 100 times are better than 50).

    Args:
        algorithm: "cbow" predicts a word from the mean of the words around it, "skip-gram" those from the word.
        dim: width of the vectors.
        window: how many words on each side are around a word, at most.
        epochs: passes over the texts; None for as many as read half a million words, within 5 and 100.
        min_count: keep only words that occur this often in all texts together.
        seed: of the initial vectors and of all that is sampled.

    Raises:
        UnknownNameError: no such algorithm.
        InputError: a number that is too small.

    Example:
    ```python
    >>> texts = ["a red bird sings", "a blue bird sings", "a red car drives", "a blue car drives"]
    >>> encoder = Word2VecEncoder(dim=8).fit(texts)
    >>> encoder.encode(["bird!", "?"]).any(dim=1).tolist()
    [True, False]
    ```
    """

    dim: int

    def __init__(
        self,
        algorithm: Literal["cbow", "skip-gram"] = "skip-gram",
        dim: int = 100,
        window: int = 5,
        epochs: int | None = None,
        min_count: int = 1,
        seed: int = 0,
    ):
        if algorithm not in ALGORITHMS:
            raise UnknownNameError("word2vec algorithm", algorithm, ALGORITHMS)
        for option, value in {"dim": dim, "window": window, "epochs": epochs, "min_count": min_count}.items():
            if value is not None and value < 1:
                raise InputError(f"{option} of word2vec must be 1 or more, and is {value}.")
        self.algorithm, self.dim, self.window = algorithm, dim, window
        self.epochs, self.min_count, self.seed = epochs, min_count, seed

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn the vectors from training texts.

        Raises:
            InputError: the texts hold no word that occurs `min_count` times.
        """
        word2vec = require("gensim.models", "text", "The encoder 'word2vec'")
        sentences = [tokenise(text) for text in check_texts(texts)]
        model = word2vec.Word2Vec(
            vector_size=self.dim,
            window=self.window,
            min_count=self.min_count,
            sg=self.algorithm == "skip-gram",
            seed=self.seed,
            sample=0,  # leaving out frequent words, gensim's default, would drop most of a small corpus
            workers=1,  # with more, the order of updates is left to the scheduler
            hashfxn=lambda word: zlib.crc32(word.encode()),  # Python's own differs from process to process
        )
        model.build_vocab(sentences)
        if not len(model.wv):
            raise InputError(
                f"the {len(texts)} texts hold no word that occurs {self.min_count} times. Give more texts, or a "
                "smaller min_count."
            )
        epochs = self.epochs or min(100, max(5, 500_000 // model.corpus_total_words))
        model.train(sentences, total_examples=model.corpus_count, epochs=epochs)
        logger.info("word2vec: %d vectors of width %d from %d texts", len(model.wv), self.dim, len(texts))
        self._keep(model.wv.index_to_key, model.wv.vectors)
        return self

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "modality": self.modality,
            "algorithm": self.algorithm,
            "dim": self.dim,
            "window": self.window,
            "epochs": self.epochs,
            "min_count": self.min_count,
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        options = ("algorithm", "dim", "window", "epochs", "min_count", "seed")
        encoder = cls(**{option: config[option] for option in options})
        encoder._keep(*read_word_vectors(folder, cls.name, encoder.dim))
        return encoder
