"""Measure a checkpoint in training, from features and pairs that are at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from cmr_hub.evaluation import EvaluationResult, Protocol, evaluate, evaluate_embeddings, get_protocol
from cmr_hub.modeling.modeling_cmr import CMRModel, unit_rows
from cmr_hub.retrieval.retriever import Retriever

from .datasets import FeatureSplits, Pairs, Rows

ROWS_AT_ONCE = 1024


def measure(retriever: Retriever, features: FeatureSplits, protocol: str | Protocol) -> EvaluationResult:
    """As [`cmr_hub.evaluation.evaluate`] on the split that is measured, from features that are at hand."""
    protocol, split = get_protocol(protocol), features.measured_split
    # What is at hand is not what is measured, or both sides differ.
    if "each" in (protocol.captions, features.captions):
        return evaluate(retriever, features.splits[split], protocol, features.gallery_dataset)
    model, test = retriever.model, features[split]
    with_gallery = protocol.gallery == "train"

    def embeds(real_valued: bool) -> dict[str, Any]:
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
        class_dim=model.class_dim,
        protocol=protocol,
    )


def evaluate_pairs(
    model: CMRModel, image_values: torch.Tensor, text_values: torch.Tensor, pairs: Pairs, protocol: Protocol
) -> EvaluationResult:
    """Measure what a model made of pairs, row by row, each item against the others.

    Args:
        model: the method.
        image_values: `(m, d)` values of the common space, one row per pair.
        text_values: likewise.
        pairs: the `m` pairs of `n` items, those of an item together.
        protocol: one that searches the pairs themselves. Where it takes an item's captions as one text, the mean of
            their embeddings stands for it.
    """
    _, first, counts = np.unique(pairs.caption_to_image.numpy(), return_index=True, return_counts=True)
    caption_to_image = None
    if len(first) < len(pairs) and protocol.captions == "each":
        caption_to_image = pairs.caption_to_image.numpy()
    elif len(first) < len(pairs):
        text_values = torch.stack([rows.mean(dim=0) for rows in F.normalize(text_values).split(counts.tolist())])
    return evaluate_embeddings(
        model.as_embeddings(image_values[first]),
        model.as_embeddings(text_values),
        _labels(pairs) if protocol.relevance == "class" else None,
        protocol=protocol,
        caption_to_image=caption_to_image,
        class_dim=model.class_dim,
    )


@torch.inference_mode()
def embed(
    model: CMRModel, pairs: Pairs, *, real_valued: bool = False, as_pairs: bool = False
) -> dict[str, np.ndarray]:
    """Both sides of pairs by the argument names of [`evaluate_embeddings`].

    Args:
        model: the method.
        pairs: `n` items, with `m` texts.
        real_valued: of a hashing method the values behind the codes.
        as_pairs: embed each item from both its sides, and give that for either.

    Returns:
        `n` rows of images and `m` of texts.
    """
    if as_pairs:
        rows = _in_batches(model.get_pair_features, {**pairs.images, **pairs.texts})
        features = {"image": rows, "text": rows}
    else:
        features = {
            "image": _in_batches(model.get_image_features, pairs.images),
            "text": _in_batches(model.get_text_features, pairs.texts),
        }
    finish = unit_rows if real_valued else model.as_embeddings
    return {f"{modality}_embeds": finish(rows) for modality, rows in features.items()}


def _in_batches(compute: Callable[..., torch.Tensor], inputs: Mapping[str, Rows]) -> torch.Tensor:
    length = len(next(iter(inputs.values())))
    batches = [slice(start, start + ROWS_AT_ONCE) for start in range(0, length, ROWS_AT_ONCE)]
    return torch.cat([compute(**{name: rows[batch] for name, rows in inputs.items()}) for batch in batches])


def _labels(pairs: Pairs) -> np.ndarray | None:
    return None if pairs.labels is None else pairs.labels.numpy()
