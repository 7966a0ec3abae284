"""Measure a checkpoint on a split of a data set under a protocol."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from datasets import Dataset

from cmr_hub import CMRModel, Retriever
from cmr_hub.columns import column_of
from cmr_hub.evaluation import EvaluationResult, Protocol, RetrievalEvaluator, evaluate_embeddings, get_protocol
from cmr_hub.modeling_cmr import unit_rows

from .pairs import FeatureSplits, Pairs

ROWS_AT_ONCE = 1024


def evaluate(
    retriever: Retriever,
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
        encode_images=partial(retriever.encode_images, cache=True),
        encode_texts=retriever.encode_texts,
        encode_pairs=partial(retriever.encode_pairs, cache=True),
    )
    return evaluator(cached, curves=curves)


def measure(retriever: Retriever, features: FeatureSplits, protocol: str | Protocol) -> EvaluationResult:
    """As [`evaluate`] on the test split, from features that are at hand."""
    protocol, dataset = get_protocol(protocol), features.dataset
    if protocol.captions == "each":  # the features are of an item's captions together
        return evaluate(retriever, dataset["test"], protocol, dataset["train"])
    model, test = retriever.model, features["test"]
    with_gallery = protocol.gallery == "train"

    def embeds(real_valued: bool) -> dict[str, np.ndarray]:
        found = embed(model, test, real_valued=real_valued)
        if with_gallery:
            as_pairs = protocol.gallery_view == "pair"
            gallery = embed(model, features.gallery, real_valued=real_valued, as_pairs=as_pairs)
            found |= {f"gallery_{name}": rows for name, rows in gallery.items()}
        return found

    return evaluate_embeddings(
        **embeds(real_valued=False),
        labels=_labels(test),
        gallery_labels=_labels(features.gallery) if with_gallery else None,
        real_valued=embeds(real_valued=True) if protocol.rerank else None,
        protocol=protocol,
    )


@torch.inference_mode()
def embed(
    model: CMRModel, pairs: Pairs, *, real_valued: bool = False, as_pairs: bool = False
) -> dict[str, np.ndarray]:
    """Both sides of feature pairs by the argument names of [`evaluate_embeddings`].

    Args:
        model: the method.
        pairs: `n` pairs.
        real_valued: of a hashing method the values behind the codes.
        as_pairs: embed each item from both its sides, and give that for either.
    """
    batches = [
        {side: pairs.tensors[f"{side}_features"][start : start + ROWS_AT_ONCE] for side in ("image", "text")}
        for start in range(0, len(pairs), ROWS_AT_ONCE)
    ]
    if as_pairs:
        rows = [model.get_pair_features(batch["image"], batch["text"]) for batch in batches]
        features = {"image": rows, "text": rows}
    else:
        features = {
            "image": [model.get_image_features(batch["image"]) for batch in batches],
            "text": [model.get_text_features(batch["text"]) for batch in batches],
        }
    finish = unit_rows if real_valued else model.as_embeddings
    return {f"{side}_embeds": finish(torch.cat(rows)) for side, rows in features.items()}


def _labels(pairs: Pairs) -> np.ndarray | None:
    return pairs.tensors["labels"].numpy() if "labels" in pairs.tensors else None
