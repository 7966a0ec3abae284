"""Measure retrieval among embeddings under a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from cmr_hub.modeling.embeddings import kind_of
from cmr_hub.utils.deprecation import renamed_arguments

from . import metrics
from .directions import DIRECTIONS
from .inputs import Items, check_inputs
from .protocols import Protocol, get_protocol
from .ranking import (
    Distances,
    Ranking,
    distances_between,
    distances_both_ways,
    distances_with_focus,
    first_hit_ranks,
    first_hit_ties,
    hits_of,
    ranked_hits,
    ranked_keys,
    reranked,
    scores_of,
)
from .result import EvaluationResult

LOOKUP_COUNTS = ("right", "returned", "relevant")  # of hash lookup, query by query


@renamed_arguments(caption_owner="caption_to_image")
def evaluate_embeddings(
    image_embeds: np.ndarray,
    text_embeds: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    protocol: str | Protocol = "dscmr",
    gallery_image_embeds: np.ndarray | None = None,
    gallery_text_embeds: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    caption_to_image: np.ndarray | None = None,
    text_ids: np.ndarray | None = None,
    real_valued: Mapping[str, np.ndarray] | None = None,
    class_dim: int | None = None,
    curves: bool = False,
) -> EvaluationResult:
    """Image-to-text and text-to-image retrieval under a protocol, a block of queries at a time.

    Args:
        image_embeds: `(n, d)` floating rows, compared by cosine, or `(n, bits // 8)` uint8 packed codes, compared by
            Hamming distance.
        text_embeds: `(n, d)` or `(n, bits // 8)`, row i the text of image i; with `caption_to_image` `(m, …)`.
        labels: `(n,)` integer classes or `(n, classes)` multi-hot, of the items (images). Class protocols need them.
        protocol: name of [`list_protocols`] or a [`Protocol`].
        gallery_image_embeds: images of the training split, for protocols that search it.
        gallery_text_embeds: texts of the training split, one an item.
        gallery_labels: classes of the training split.
        caption_to_image: `(m,)` for each text the row of its image, where captions are texts of their own.
        text_ids: `(m,)` integers, equal where two texts are, as [`number_texts`] gives them; for protocols that take a
            caption for right at each image that carries it.
        real_valued: for protocols that re-rank codes, the real-valued rows of what is given as codes, by the same
            argument names.
        class_dim: width of the class part of embeddings of two parts, which comes first, of codes its bits; for
            protocols with a focus.
        curves: also compute precision-recall curves (by rank, ties in gallery order; for codes also by radius, unless
            the protocol has a focus).

    Returns:
        The metrics of both directions and their means. A warning says where all embeddings are the same.

    Raises:
        UnknownNameError: no such protocol.
        InputError: embeddings that are not finite, not comparable or of the wrong length; no queries; labels missing;
            a gallery smaller than the protocol's k; arguments that the protocol does not use.

    Example:
    ```python
    >>> import numpy as np
    >>> images, texts = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[[0, 2, 1]]  # own pairs apart
    >>> result = evaluate_embeddings(images, texts, labels=np.array([0, 1, 1]))
    >>> round(result.metrics["map"], 4)
    0.8889
    ```
    """
    protocol = get_protocol(protocol)
    inputs = check_inputs(
        protocol,
        {
            "image_embeds": image_embeds,
            "text_embeds": text_embeds,
            "gallery_image_embeds": gallery_image_embeds,
            "gallery_text_embeds": gallery_text_embeds,
        },
        labels=labels,
        gallery_labels=gallery_labels,
        caption_to_image=caption_to_image,
        text_ids=text_ids,
        real_valued=real_valued,
        class_dim=class_dim,
        curves=curves,
    )
    distances: Sequence[Distances]
    if protocol.focus is not None:
        distances = [
            distances_with_focus(query.embeds, gallery.embeds, inputs.class_dim, protocol.focus)
            for query, gallery in inputs.ways.values()
        ]
    elif protocol.gallery == "test":
        distances = distances_both_ways(*(query.embeds for query, _ in inputs.ways.values()))
    else:
        distances = [distances_between(query.embeds, gallery.embeds) for query, gallery in inputs.ways.values()]
    similarity = inputs.kind.similarity
    if protocol.rerank:
        distances = [
            reranked(distance, *pair, protocol.rerank)
            for distance, pair in zip(distances, inputs.real_valued, strict=True)
        ]
        similarity += f", the first {protocol.rerank} by cosine"
    found = {
        direction: _measure(protocol, distance, query, gallery, curves, f"Ranking {direction}")
        for distance, (direction, (query, gallery)) in zip(distances, inputs.ways.items(), strict=True)
    }
    return EvaluationResult(
        protocol=protocol,
        metrics=_with_means({direction: numbers for direction, (numbers, _) in found.items()}),
        similarity=similarity,
        queries={direction: len(query.embeds) for direction, (query, _) in inputs.ways.items()},
        gallery={direction: len(gallery.embeds) for direction, (_, gallery) in inputs.ways.items()},
        curves={direction: curve for direction, (_, curve) in found.items()} if curves else None,
    )


def _with_means(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The metrics of each direction, and the means of both; of ranks there is none."""
    values = {f"{direction}/{name}": value for direction, row in found.items() for name, value in row.items()}
    for name in found[DIRECTIONS[0]]:
        if not name.endswith("_rank"):
            values[name] = float(np.mean([values[f"{direction}/{name}"] for direction in DIRECTIONS]))
    return values


def _measure(
    protocol: Protocol, distances: Distances, query: Items, gallery: Items, curves: bool, description: str
) -> tuple[dict[str, float], dict[str, list[float]]]:
    if protocol.relevance == "pair":
        return _pair_metrics(protocol, Ranking(distances, query.labels, gallery.labels), description), {}
    own_pairs = None if protocol.keep_own_pair else (query.caption_to_image, gallery.caption_to_image)
    ranking = Ranking(distances, query.labels, gallery.labels, own_pairs)
    by_radius = protocol.focus is None
    bits = kind_of(gallery.embeds).bits(gallery.embeds.shape[1]) if by_radius else None
    measure = partial(_class_metrics, protocol, curves=curves, bits=bits)
    blocks = ranking.map(measure, description)
    whole = {name: np.concatenate([values[name] for values in blocks]) for name in blocks[0]}
    counts = [whole.pop(name) for name in LOOKUP_COUNTS if name in whole]
    numbers = {name: float(rows.mean()) if len(rows) else 0.0 for name, rows in whole.items() if rows.ndim == 1}
    curve = {name: rows.mean(axis=0).tolist() for name, rows in whole.items() if rows.ndim == 2 and len(rows)}
    if curve:
        curve["recall"] = np.linspace(0, 1, len(curve["precision"])).tolist()
    if curve and counts:
        for name, lookup in (("lookup", metrics.pooled_lookup), ("mean_lookup", metrics.mean_lookup)):
            for which, points in zip(("precision", "recall"), lookup(*counts), strict=True):
                curve[f"{name}_{which}"] = points.tolist()
    return numbers, curve


def _pair_metrics(protocol: Protocol, ranking: Ranking, description: str) -> dict[str, float]:
    """Recalls, the mean of them first, and ranks."""
    if protocol.ties == "expected":
        before, tied, right = np.concatenate(ranking.map(first_hit_ties, description), axis=1)
        ranks = metrics.expected_rank(before, tied, right)
        recalls = {f"recall@{k}": metrics.expected_recall_at(before, tied, right, k) for k in protocol.at}
    else:
        ranks = np.concatenate(ranking.map(first_hit_ranks, description))
        recalls = {f"recall@{k}": metrics.recall_at(ranks, k) for k in protocol.at}
    return {
        "mean_recall": float(np.mean(list(recalls.values()))),
        **recalls,
        "median_rank": metrics.median_rank(ranks),
        "mean_rank": float(ranks.mean()),
    }


def _class_metrics(
    protocol: Protocol, distance: np.ndarray, relevant: np.ndarray, *, curves: bool, bits: int | None
) -> dict[str, np.ndarray]:
    """Numbers of each query of a block, `(b,)`, and points of its curves, `(b, points)`."""
    cut = protocol.cut_off or distance.shape[1]
    expected = protocol.ties == "expected"
    number = np.count_nonzero(relevant, axis=1)
    if expected or (curves and bits):
        keys = ranked_keys(distance, relevant)
        hits, scores = hits_of(keys), scores_of(keys)
    else:
        hits = ranked_hits(distance, relevant, None if curves else max(cut, *protocol.at, 0))
    likely = hits
    values: dict[str, np.ndarray] = {}
    if expected:
        values["map"] = metrics.expected_average_precision(hits, scores, cut, protocol.ap_divisor)
        likely = metrics.expected_hits(hits, scores) if protocol.at else hits
    else:
        values["map"] = metrics.average_precision(hits[:, :cut], number, protocol.ap_divisor)
    if protocol.zero_hit == "drop":
        values["map"] = values["map"][hits[:, :cut].any(axis=1)]
    for k in protocol.at:
        values[f"precision@{k}"] = metrics.precision_at(likely, k)
        values[f"ndcg@{k}"] = metrics.ndcg_at(likely, number, k)
    if curves:
        values["precision"] = metrics.interpolated_precision(hits)
        if bits:
            values |= dict(zip(LOOKUP_COUNTS, metrics.lookup_counts(hits, scores, bits), strict=True))
    return values
