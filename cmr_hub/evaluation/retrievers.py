"""Measure a checkpoint as it is, on the columns of a data set that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any
from typing import Protocol as Interface

import numpy as np
from datasets import Dataset

from cmr_hub.data.columns import column_of
from cmr_hub.encoders.base import Encoder

from .evaluator import RetrievalEvaluator
from .protocols import Protocol, get_protocol
from .result import EvaluationResult


class HasEncoders(Interface):
    """What an evaluation needs of a processor: its encoders, which say whether they take raw input."""

    @property
    def image_encoder(self) -> Encoder:
        """The encoder of images."""

    @property
    def text_encoder(self) -> Encoder:
        """The encoder of texts."""


class EvaluatedRetriever(Interface):
    """What an evaluation needs of a `Retriever`. `cache` keeps features on disk."""

    @property
    def processor(self) -> HasEncoders:
        """The processor that was saved with the model."""

    @property
    def class_dim(self) -> int | None:
        """Width of the class part of embeddings of two parts."""

    def encode_images(self, images: Sequence[Any], *, cache: bool = ..., real_valued: bool = ...) -> np.ndarray:
        """Images or feature rows -> `(n, d)` embeddings."""

    def encode_texts(self, texts: Sequence[Any], *, cache: bool = ..., real_valued: bool = ...) -> np.ndarray:
        """Texts, lists of captions or feature rows -> `(n, d)` embeddings."""

    def encode_pairs(
        self, images: Sequence[Any], texts: Sequence[Any], *, cache: bool = ..., real_valued: bool = ...
    ) -> np.ndarray:
        """Both modalities of items -> one `(n, d)` embedding per item."""


def evaluate(
    retriever: EvaluatedRetriever,
    dataset: Dataset,
    protocol: str | Protocol,
    gallery: Dataset | None = None,
    *,
    curves: bool = False,
) -> EvaluationResult:
    """Measure a retriever.

    Args:
        retriever: the checkpoint.
        dataset: the queries' split.
        protocol: name or [`Protocol`].
        gallery: the training split, for protocols that search it.
        curves: also compute precision-recall curves.

    Returns:
        Metrics of both directions; features of slow encoders are taken from the feature store.

    Raises:
        UnknownNameError: no such protocol.
        InputError: the data set lacks a column that the checkpoint takes, or its rows cannot be measured so.

    Example:
    ```python
    >>> from cmr_hub import from_pretrained
    >>> from cmr_hub.data import load_dataset
    >>> emoji = load_dataset("emoji")
    >>> result = evaluate(from_pretrained("cmr/cca-emoji"), emoji["test"], "dscmr")
    >>> round(result.metrics["map"], 2)
    0.48
    ```
    """
    processor, protocol = retriever.processor, get_protocol(protocol)
    evaluator = RetrievalEvaluator(
        dataset,
        protocol,
        gallery_dataset=gallery if protocol.gallery == "train" else None,
        image_column=column_of(dataset, "image", processor.image_encoder.accepts_raw_input),
        text_column=column_of(dataset, "text", processor.text_encoder.accepts_raw_input),
    )
    cached = SimpleNamespace(
        encode_images=partial(retriever.encode_images, cache=True),
        encode_texts=partial(retriever.encode_texts, cache=True),
        encode_pairs=partial(retriever.encode_pairs, cache=True),
        class_dim=retriever.class_dim,
    )
    return evaluator(cached, curves=curves)
