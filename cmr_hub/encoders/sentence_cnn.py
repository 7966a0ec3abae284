"""Texts as what a sentence CNN (Kim, EMNLP 2014) makes of them before it tells the classes apart.

Where this is not the paper's section 3.1, or its authors' code: the layers start as torch starts them; the epoch is
that of the lowest loss on a held-out tenth of the texts, with a patience, where the code takes the best accuracy of
25; that tenth is drawn text by text, so that captions of one image may stand on both sides; words that no vectors
know are zero; texts are cut at `max_length` words; and several classes a text are told by sigmoids.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import CheckpointError, InputError, NotFittedError, UnknownNameError

from .base import TextEncoder, check_texts, checkpoint_file
from .glove import GloveEncoder
from .own_weights import read_torch_tensors
from .tokenise import tokenise
from .vocabulary import read_vocabulary, write_vocabulary

logger = logging.getLogger(__name__)

# The names are not those of `GloveEncoder`, whose vectors from a file lie beside these.
NETWORK_FILE = "text_sentence_cnn.safetensors"
WORDS_FILE = "text_sentence_cnn_words.json"

# Which channels of word vectors a variant has, and whether training changes each.
CHANNELS = {"rand": (True,), "static": (False,), "non-static": (True,), "multichannel": (False, True)}
RANDOM_DIM = 300  # the width of word vectors that begin by chance: that of the paper's word2vec
RANDOM_RANGE = 0.25  # and how far from zero they begin
HELD_OUT = 0.1  # share of the texts that the epoch is chosen on
TEXTS_AT_ONCE = 128


@dataclass(frozen=True)
class CNNSettings:
    """How the network is built and trained. The defaults are those of section 3.1 of the paper and of its code.

    Attributes:
        windows: how many words in a row the filters see.
        maps: filters a window.
        dropout: share of the features that a training step hides from the classifier.
        max_norm: longer weight vectors of the classifier are cut to this length after each step.
        batch_size: texts a step.
        epochs: passes over the texts, at most.
        patience: epochs without a lower loss on the held-out texts before training stops.
        max_length: longer texts are cut to this many words.
        seed: of everything that chance decides.
    """

    windows: tuple[int, ...] = (3, 4, 5)
    maps: int = 100
    dropout: float = 0.5
    max_norm: float = 3.0
    batch_size: int = 50
    epochs: int = 25
    patience: int = 5
    max_length: int = 500
    seed: int = 0


class SentenceCNN(nn.Module):
    """Filters over a text's word vectors, and the greatest answer of each wherever in the text it is.

    Args:
        dim: width of a word's vector, of all channels together.
        windows: how many words in a row the filters see.
        maps: filters a window.
    """

    def __init__(self, dim: int, windows: Sequence[int], maps: int):
        super().__init__()
        # As in the paper's code, a window may reach over a text's beginning and end, where the vectors are zero.
        self.filters = nn.ModuleList(nn.Conv1d(dim, maps, window, padding=window - 1) for window in windows)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Features of texts.

        Args:
            vectors: `(n, length, dim)`, zero after a text's last word. Each text must end in one such row at least:
                then a window of zeros is among those of every text, and how far a batch is padded changes nothing.

        Returns:
            `(n, maps * len(windows))`, not negative.
        """
        signal = vectors.transpose(1, 2)
        # ReLU after the maximum is the same as before it, and less work.
        return torch.cat([convolve(signal).amax(dim=2) for convolve in self.filters], dim=1).relu()


@register_encoder("text", "sentence_cnn")
class SentenceCNNEncoder(TextEncoder):
    """The 300 features that a sentence CNN, trained on the training texts' classes, has before its last layer.

    A text's word vectors go through filters of 3, 4 and 5 words, 100 each; ReLU and the maximum over the text give a
    feature a filter. For training, a linear layer above them tells the classes: by softmax where each text has one
    class, and by a sigmoid a class otherwise. DSCMR's texts come from such a network.

    Words that the training texts lack keep the vector that `vectors` has for them, and are left out otherwise: zero. A
    text without any known word is the zero vector, and `has_known_tokens` is False for it.

    Args:
        variant: as the paper names them. "static" leaves the word vectors as they come, "non-static" trains them
            along, "multichannel" has both side by side, "rand" begins from vectors by chance, 300 wide.
        vectors: where word vectors come from: "glove" for the packaged glove.6B.50d, the path of a GloVe text file, or
            a `GloveEncoder`. Of a file checkpoints carry all vectors. "rand" takes none.
        settings: fields of `CNNSettings`.

    Raises:
        UnknownNameError: no such variant or setting.
        InputError: a setting out of range, or `vectors` is no file of word vectors.

    Example:
    ```python
    >>> texts = ["a red bird sings", "a blue bird sings", "a red car drives", "a blue car drives"]
    >>> encoder = SentenceCNNEncoder(epochs=2).fit(texts, np.array([[1, 0], [1, 0], [0, 1], [0, 1]]))
    >>> encoder.encode(["bird!", "?"]).any(dim=1).tolist()
    [True, False]
    >>> encoder.dim
    300
    ```
    """

    learns_labels = True
    limits = (
        "A text is what filters of a few words in a row find in it. They were trained to tell the training split's "
        "classes apart: what says nothing of those may be lost. The word vectors carry the biases of the texts that "
        "they were learned from."
    )

    def __init__(
        self,
        variant: Literal["rand", "static", "non-static", "multichannel"] = "non-static",
        vectors: str | os.PathLike | GloveEncoder = "glove",
        **settings: Any,
    ):
        if variant not in CHANNELS:
            raise UnknownNameError("variant of the sentence CNN", variant, CHANNELS)
        self.variant, self.settings = variant, _settings(settings)
        if variant == "rand":
            self.source = None
        elif isinstance(vectors, GloveEncoder):
            self.source = vectors
        else:
            self.source = GloveEncoder() if vectors == "glove" else GloveEncoder.from_text_file(vectors)
        self._network: SentenceCNN | None = None
        self._rows: dict[str, int] = {}
        self._vectors = torch.empty(0)

    @property
    def dim(self) -> int:
        return self.settings.maps * len(self.settings.windows)

    @property
    def _word_dim(self) -> int:
        """Width of a word's vector, of all channels together."""
        return len(CHANNELS[self.variant]) * (RANDOM_DIM if self.source is None else self.source.dim)

    def fit(self, texts: Sequence[str], labels: np.ndarray | None = None) -> Self:
        """Train the network to tell the texts' classes.

        Args:
            texts: `n` training texts. A tenth of them, drawn by chance, chooses the epoch.
            labels: `(n, classes)` of zeros and ones, which text is of which classes.

        Raises:
            InputError: there are no labels, they are not of the texts, or fewer than two texts have words.
        """
        if labels is None:
            raise InputError(f"the encoder {self.name!r} learns from classes. Call fit(texts, labels).")
        labels = np.asarray(labels, np.float32)
        if labels.ndim != 2 or len(labels) != len(texts) or not np.isin(labels, (0, 1)).all():
            raise InputError(
                f"{len(texts)} texts have labels of shape {labels.shape}. Give each text a row of zeros and ones."
            )
        read = [self._read(text) for text in check_texts(texts)]
        told = [position for position, words in enumerate(read) if words]
        if len(told) < 2:
            raise InputError(f"{len(told)} of the {len(texts)} texts have words, and training takes two or more.")
        words = sorted({word for text in read for word in text})
        rows = {word: row for row, word in enumerate(words, start=1)}
        numbers = [torch.tensor([rows[word] for word in read[position]]) for position in told]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            classifier = _Classifier(
                self._initial_vectors(words), CHANNELS[self.variant], labels.shape[1], self.settings
            )
            loss, epoch = _train(classifier, numbers, torch.from_numpy(labels[told]), self.settings)
        logger.info("sentence_cnn: %d texts, epoch %d kept, held-out loss %.4f", len(told), epoch, loss)
        self._keep(words, classifier.vectors(), classifier.network)
        return self

    def _read(self, text: str) -> list[str]:
        return tokenise(text)[: self.settings.max_length]

    def _initial_vectors(self, words: Sequence[str]) -> torch.Tensor:
        """What the words' vectors begin from, `(len(words), dim)` of one channel."""
        if self.source is None:
            return torch.empty(len(words), RANDOM_DIM).uniform_(-RANDOM_RANGE, RANDOM_RANGE)
        vectors = torch.from_numpy(self.source.vectors_of(words))
        known = vectors.any(dim=1)
        # Words without a vector begin by chance, with the variance of those that have one.
        reach = (3 * vectors[known].var(correction=0)).sqrt() if known.any() else RANDOM_RANGE
        vectors[~known] = torch.empty(int((~known).sum()), vectors.shape[1]).uniform_(-1, 1) * reach
        return vectors

    def _keep(self, words: Sequence[str], vectors: torch.Tensor, network: SentenceCNN) -> None:
        """Encode from now on with this network, and with these vectors `(len(words), dim)` of all channels."""
        self._rows = {word: row for row, word in enumerate(words)}
        self._vectors, self._network = vectors, network.eval().requires_grad_(False)

    def _fitted(self) -> SentenceCNN:
        if self._network is None:
            raise NotFittedError(
                f"The encoder {self.name!r} is not trained yet. Call fit(training texts, labels) first."
            )
        return self._network

    def encode(self, inputs: Sequence[str]) -> torch.Tensor:
        self._fitted()
        texts = check_texts(inputs)
        batches = [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]
        return torch.cat([self._encode(batch) for batch in batches]) if batches else torch.empty(0, self.dim)

    def _encode(self, texts: Sequence[str]) -> torch.Tensor:
        read = [self._read(text) for text in texts]
        words = sorted({word for text in read for word in text})
        vectors = torch.cat([torch.zeros(1, self._word_dim), self._vectors_of(words)])
        known = vectors.any(dim=1).tolist()
        numbers = {word: row for row, word in enumerate(words, start=1)}
        batch = _padded([torch.tensor([numbers[word] for word in text], dtype=torch.int64) for text in read])
        features = self._fitted()(vectors[batch])
        # Without a known word the filters answer with their bias, which says nothing of the text.
        features[[not any(known[numbers[word]] for word in text) for text in read]] = 0
        return features

    def _vectors_of(self, words: Sequence[str]) -> torch.Tensor:
        """`(len(words), dim)` of all channels: as trained, otherwise as `vectors` has them, otherwise zero."""
        vectors = torch.zeros(len(words), self._word_dim)
        if self.source is not None:
            vectors[:] = torch.from_numpy(self.source.vectors_of(words)).repeat(1, len(CHANNELS[self.variant]))
        trained = [position for position, word in enumerate(words) if word in self._rows]
        vectors[trained] = self._vectors[[self._rows[words[position]] for position in trained]]
        return vectors

    def has_known_tokens(self, texts: Sequence[str]) -> list[bool]:
        self._fitted()
        return [any(is_known for _, is_known in self.read_words(text)) for text in check_texts(texts)]

    def read_words(self, text: str) -> list[tuple[str, bool]]:
        self._fitted()
        words = self._read(text)
        return list(zip(words, self._vectors_of(words).any(dim=1).tolist(), strict=True))

    @property
    def _vocabulary_words(self) -> Iterable[str]:
        return [*self._rows, *(() if self.source is None else self.source._vocabulary_words)]

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "modality": self.modality,
            "variant": self.variant,
            "vectors": None if self.source is None else self.source.to_dict(),
            **vars(self.settings),
            "windows": list(self.settings.windows),
        }

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        settings = {name: config[name] for name in CNNSettings.__dataclass_fields__}
        source = config["vectors"]
        vectors = GloveEncoder() if source is None else GloveEncoder.from_dict(source, folder)
        encoder = cls(config["variant"], vectors, **settings)
        words = read_vocabulary(folder, cls.name, WORDS_FILE)
        path = checkpoint_file(folder, NETWORK_FILE, cls.name)
        weights = read_torch_tensors(path)
        try:
            trained = weights.pop("vectors")
            if len(weights) != 2 * len(encoder.settings.windows):  # a weight and a bias each
                raise KeyError(f"{len(weights)} tensors for {len(encoder.settings.windows)} windows")
            # Of shapes alone: whatever the settings say takes no memory until the weights turn out to fit.
            with torch.device("meta"):
                network = SentenceCNN(encoder._word_dim, encoder.settings.windows, encoder.settings.maps)
            network.load_state_dict(weights, assign=True)
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not hold the network described ({error}). Fetch it again.") from error
        if trained.shape != (len(words), encoder._word_dim):
            raise CheckpointError(
                f"{path} has vectors of shape {tuple(trained.shape)}, but the checkpoint speaks of {len(words)} words "
                f"of width {encoder._word_dim}. Fetch it again."
            )
        encoder._keep(words, trained, network)
        return encoder

    def save_files(self, folder: Path) -> None:
        state = self._state()
        write_vocabulary(list(self._rows), folder, WORDS_FILE)
        safetensors.torch.save_file(state, Path(folder) / NETWORK_FILE)
        if self.source is not None:
            self.source.save_files(folder)

    def _state(self) -> dict[str, torch.Tensor]:
        return {"vectors": self._vectors, **self._fitted().state_dict()}

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        state = self._state()
        yield json.dumps(list(self._rows)).encode()
        yield safetensors.torch.save(state)
        if self.source is not None:
            yield self.source.fingerprint.encode()


class _Classifier(nn.Module):
    """The network while it is trained: word vectors below it, and the classes above."""

    def __init__(self, vectors: torch.Tensor, channels: Sequence[bool], classes: int, settings: CNNSettings):
        super().__init__()
        table = F.pad(vectors, (0, 0, 1, 0))  # number 0 is no word
        self.tables = nn.ModuleList(
            nn.Embedding.from_pretrained(table.clone(), freeze=not trained, padding_idx=0) for trained in channels
        )
        self.network = SentenceCNN(len(channels) * vectors.shape[1], settings.windows, settings.maps)
        self.dropout = nn.Dropout(settings.dropout)
        self.classify = nn.Linear(settings.maps * len(settings.windows), classes)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        vectors = torch.cat([table(batch) for table in self.tables], dim=2)
        return self.classify(self.dropout(self.network(vectors)))

    def vectors(self) -> torch.Tensor:
        """The words' vectors of all channels side by side, `(words, dim)`."""
        return torch.cat([cast(nn.Embedding, table).weight.detach()[1:] for table in self.tables], dim=1)


def _train(
    classifier: _Classifier, numbers: Sequence[torch.Tensor], labels: torch.Tensor, settings: CNNSettings
) -> tuple[float, int]:
    """Train by Adadelta, and keep the epoch of the lowest loss on the texts held out.

    Returns:
        That loss, and the epoch.
    """
    # Softmax is for texts of one class each; of several, or none, a sigmoid a class asks for each by itself.
    loss_of = F.cross_entropy if (labels.sum(dim=1) == 1).all() else F.binary_cross_entropy_with_logits
    order = torch.randperm(len(numbers))
    held_out, learned = order.tensor_split([max(1, round(HELD_OUT * len(order)))])

    def batches(rows: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for chosen in rows.split(size):
            yield _padded([numbers[row] for row in chosen]), labels[chosen]

    optimiser = torch.optim.Adadelta(
        [parameter for parameter in classifier.parameters() if parameter.requires_grad], lr=1.0, rho=0.95, eps=1e-6
    )
    best, best_epoch, kept = float("inf"), 0, {}
    for epoch in range(1, settings.epochs + 1):
        classifier.train()
        for batch, expected in batches(learned[torch.randperm(len(learned))], settings.batch_size):
            optimiser.zero_grad()
            loss_of(classifier(batch), expected).backward()
            optimiser.step()
            with torch.no_grad():
                weight = classifier.classify.weight
                weight.copy_(weight.renorm(p=2, dim=0, maxnorm=settings.max_norm))
        classifier.eval()
        with torch.no_grad():
            losses = [loss_of(classifier(batch), expected) * len(batch) for batch, expected in batches(held_out, 256)]
        loss = float(sum(losses) / len(held_out))
        if loss < best:
            best, best_epoch = loss, epoch
            kept = {name: value.clone() for name, value in classifier.state_dict().items()}
        elif epoch - best_epoch >= settings.patience:
            break
    classifier.load_state_dict(kept)
    return best, best_epoch


def _padded(numbers: list[torch.Tensor]) -> torch.Tensor:
    """Texts' numbers as `(n, longest + 1)`, 0 after each text's last word."""
    return F.pad(nn.utils.rnn.pad_sequence(numbers, batch_first=True), (0, 1))


def _settings(given: dict[str, Any]) -> CNNSettings:
    """The settings, checked.

    Raises:
        UnknownNameError: no such setting.
        InputError: one is out of range; the message names it.
    """
    for name in given:
        if name not in CNNSettings.__dataclass_fields__:
            raise UnknownNameError("setting of the sentence CNN", name, CNNSettings.__dataclass_fields__)
    if "windows" in given:
        given = {**given, "windows": tuple(given["windows"])}
    settings = CNNSettings(**given)
    counts = {name: getattr(settings, name) for name in ("maps", "batch_size", "epochs", "patience", "max_length")}
    if not settings.windows:
        raise InputError("windows of the sentence CNN must name one window or more.")
    for name, value in [*counts.items(), *(("windows", window) for window in settings.windows)]:
        if type(value) is not int or value < 1:
            raise InputError(f"{name} of the sentence CNN must be a whole number from 1, and is {value!r}.")
    if not 0 <= settings.dropout < 1 or not settings.max_norm > 0:
        raise InputError(
            f"dropout ({settings.dropout}) of the sentence CNN must lie from 0 to below 1, and max_norm "
            f"({settings.max_norm}) above 0."
        )
    return settings
