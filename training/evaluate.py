"""Measure a checkpoint on a split of a data set under a protocol."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

from datasets import Dataset

from cmr_hub import Retriever
from cmr_hub.columns import column_of
from cmr_hub.evaluation import EvaluationResult, Protocol, RetrievalEvaluator, get_protocol


def evaluate(
    retriever: Retriever, dataset: Dataset, protocol: str | Protocol, gallery: Dataset | None = None
) -> EvaluationResult:
    """Measure a retriever.

    Args:
        retriever: the checkpoint.
        dataset: the queries' split.
        protocol: name or [`Protocol`].
        gallery: the training split, for protocols that search it.

    Returns:
        Metrics of both directions; pictures' features are taken from the feature store.
    """
    processor, protocol = retriever.processor, get_protocol(protocol)
    evaluator = RetrievalEvaluator(
        dataset,
        protocol,
        gallery_dataset=gallery if protocol.gallery == "train" else None,
        image_column=column_of(dataset, "image", processor.image_encoder.takes_raw),
        text_column=column_of(dataset, "text", processor.text_encoder.takes_raw),
    )
    cached = SimpleNamespace(
        encode_images=partial(retriever.encode_images, cache=True), encode_texts=retriever.encode_texts
    )
    return evaluator(cached)
