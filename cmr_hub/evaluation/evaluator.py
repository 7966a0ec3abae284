"""One evaluator: embeddings of both modalities and a protocol in, numbers of both directions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from typing import Protocol as Interface

import numpy as np
from datasets import Dataset
from scipy.sparse import csr_array

from cmr_hub.data.columns import COLUMNS, read_column
from cmr_hub.data.labels import class_names, label_matrix
from cmr_hub.errors import InputError
from cmr_hub.modeling.embeddings import BINARY, EmbeddingKind, described, kind_of
from cmr_hub.utils.deprecation import renamed_arguments

from . import metrics
from .captions import number_texts, spread_captions
from .protocols import Protocol, get_protocol
from .ranking import (
    Distances,
    Ranking,
    distances_between,
    distances_both_ways,
    first_hit_ranks,
    first_hit_ties,
    hits_of,
    ranked_hits,
    ranked_keys,
    reranked,
    scores_of,
)

DIRECTIONS = ("image_to_text", "text_to_image")


@dataclass(frozen=True)
class EvaluationResult:
    """Numbers, and the protocol without which they mean nothing.

    Attributes:
        protocol: how they came about.
        metrics: "image_to_text/map", "text_to_image/recall@5" …; and without a direction the mean of both. Of own
            pairs "mean_recall" is the mean over all k, so that without a direction it is the papers' mR.
        similarity: what the ranking is by: "cosine" or "Hamming".
        queries: number of queries of each direction.
        gallery: number of gallery items of each direction.
        curves: on request, for each direction its precision-recall curve: "recall" and "precision" at 11 recall
            levels; for codes also "lookup_precision" and "lookup_recall" by Hamming radius.
    """

    protocol: Protocol
    metrics: dict[str, float]
    similarity: str
    queries: dict[str, int]
    gallery: dict[str, int]
    curves: dict[str, dict[str, list[float]]] | None = None

    @property
    def primary_metric(self) -> str:
        """The key in `metrics` of the number that runs are compared by."""
        return self.protocol.primary_metric

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values; "protocol_description" is the protocol's line."""
        return {
            **asdict(self),
            "primary_metric": self.primary_metric,
            "protocol_description": self.protocol.describe(),
        }

    def table(self) -> str:
        """A table for people, the protocol beneath it.

        Example:

        ```python
        >>> eye = np.eye(2, dtype=np.float32)
        >>> print(evaluate_embeddings(eye, eye, np.array([0, 1])).table().splitlines()[1])
        map             1.0000         1.0000   1.0000
        ```
        """
        names = [key.removeprefix("image_to_text/") for key in self.metrics if key.startswith("image_to_text/")]
        width = max(len(name) for name in [*names, "queries", "gallery"])
        lines = [f"{'':{width}}  {'image→text':>13}  {'text→image':>13}  {'mean':>7}"]
        for name in names:
            both = "  ".join(f"{self.metrics[f'{direction}/{name}']:13.4f}" for direction in DIRECTIONS)
            mean = f"{self.metrics[name]:7.4f}" if name in self.metrics else ""
            lines.append(f"{name:{width}}  {both}  {mean}".rstrip())
        for name, sizes in (("queries", self.queries), ("gallery", self.gallery)):
            lines.append(f"{name:{width}}  " + "  ".join(f"{sizes[direction]:13,}" for direction in DIRECTIONS))
        return "\n".join([*lines, f"by {self.similarity} · protocol {self.protocol.describe()}"])


@dataclass(frozen=True)
class _Items:
    """One modality of one split: embeddings, what relevance goes by, and the item that each belongs to."""

    embeds: np.ndarray
    labels: np.ndarray | csr_array
    caption_to_image: np.ndarray


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
        curves: also compute precision-recall curves (by rank, ties in gallery order; for codes also by radius).

    Returns:
        The metrics of both directions and their means.

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
    images = _check_embeds("image_embeds", image_embeds)
    texts = _check_embeds("text_embeds", text_embeds)
    caption_to_image = _check_caption_to_image(protocol, caption_to_image, len(images), len(texts))
    text_ids = _check_text_ids(protocol, text_ids, len(texts))
    if protocol.relevance == "class":
        classes = _check_labels("labels", labels, len(images), protocol)
        of_images, of_texts = classes, classes[caption_to_image]
    else:
        of_images, of_texts = _own_pairs(len(images), caption_to_image, text_ids)
    query_images = _Items(images, of_images, np.arange(len(images)))
    query_texts = _Items(texts, of_texts, caption_to_image)
    gallery_images, gallery_texts = query_images, query_texts

    given = {
        "gallery_image_embeds": gallery_image_embeds,
        "gallery_text_embeds": gallery_text_embeds,
        "gallery_labels": gallery_labels,
    }
    if protocol.gallery == "train":
        images = _check_embeds("gallery_image_embeds", gallery_image_embeds)
        texts = _check_embeds("gallery_text_embeds", gallery_text_embeds)
        caption_to_image = _check_caption_to_image(protocol, None, len(images), len(texts))
        classes = _check_labels("gallery_labels", gallery_labels, len(images), protocol)
        gallery_images, gallery_texts = (
            _Items(images, classes, caption_to_image),
            _Items(texts, classes, caption_to_image),
        )
    elif any(value is not None for value in given.values()):
        unused = ", ".join(name for name, value in given.items() if value is not None)
        raise InputError(f"Protocol {protocol.name!r} searches the queries' own split and has no use for {unused}.")
    if curves and (protocol.relevance == "pair" or protocol.rerank):
        raise InputError(
            f"Precision-recall curves are of classes and of one ranking; protocol {protocol.name!r} looks for own "
            "pairs, or re-ranks."
        )

    ways = {"image_to_text": (query_images, gallery_texts), "text_to_image": (query_texts, gallery_images)}
    for query, gallery in ways.values():
        _check_comparable(protocol, query, gallery)
    if protocol.gallery == "test":
        distances = distances_both_ways(query_images.embeds, query_texts.embeds)
    else:
        distances = [distances_between(query.embeds, gallery.embeds) for query, gallery in ways.values()]
    kind = kind_of(query_images.embeds)
    similarity = kind.similarity
    if protocol.rerank:
        rows = _check_real_valued(protocol, real_valued, kind, ways)
        distances = [
            reranked(distance, *pair, protocol.rerank) for distance, pair in zip(distances, rows, strict=True)
        ]
        similarity += f", the first {protocol.rerank} by cosine"
    found = {
        direction: _measure(protocol, distance, query, gallery, curves, f"Ranking {direction}")
        for distance, (direction, (query, gallery)) in zip(distances, ways.items(), strict=True)
    }
    values = {f"{direction}/{name}": value for direction, (row, _) in found.items() for name, value in row.items()}
    for name in found["image_to_text"][0]:
        if not name.endswith("_rank"):
            values[name] = float(np.mean([values[f"{direction}/{name}"] for direction in DIRECTIONS]))
    return EvaluationResult(
        protocol=protocol,
        metrics=values,
        similarity=similarity,
        queries={direction: len(query.embeds) for direction, (query, _) in ways.items()},
        gallery={direction: len(gallery.embeds) for direction, (_, gallery) in ways.items()},
        curves={direction: curve for direction, (_, curve) in found.items()} if curves else None,
    )


class EncodesPairs(Interface):
    """What the evaluator needs of a retriever.

    `real_valued` is passed by protocols that re-rank codes alone: it asks for what the codes are the signs of.
    """

    def encode_images(self, images: Sequence[Any], *, real_valued: bool = False) -> np.ndarray:
        """Images or feature rows -> `(n, d)` embeddings."""

    def encode_texts(self, texts: Sequence[Any], *, real_valued: bool = False) -> np.ndarray:
        """Texts, lists of captions or feature rows -> `(n, d)` embeddings."""

    def encode_pairs(self, images: Sequence[Any], texts: Sequence[Any], *, real_valued: bool = False) -> np.ndarray:
        """Both sides of items -> one `(n, d)` embedding each; for protocols that search such."""


class RetrievalEvaluator:
    """Measures retrievers on one split of a data set.

    Args:
        dataset: the queries: `image` or `image_features`, `texts` or `text_features`, and for class protocols `label`
            or `labels`.
        protocol: name of [`list_protocols`] or a [`Protocol`].
        gallery_dataset: the training split, for protocols that search it.
        image_column: the column that the retriever takes; found where only one of the two is there.
        text_column: likewise.

    Raises:
        UnknownNameError: no such protocol.
        InputError: a column or the gallery is missing, two columns could be meant, there are no rows, or the protocol
            counts captions and the column holds features.

    Example:

    ```python
    >>> evaluator = RetrievalEvaluator(dataset["test"], protocol="dscmr")  # doctest: +SKIP
    >>> print(evaluator(cmr_hub.from_pretrained("cmr/dscmr-emoji")).table())  # doctest: +SKIP
    ```
    """

    def __init__(
        self,
        dataset: Dataset,
        protocol: str | Protocol = "dscmr",
        *,
        gallery_dataset: Dataset | None = None,
        image_column: str | None = None,
        text_column: str | None = None,
    ):
        self.protocol = get_protocol(protocol)
        self.dataset, self.gallery_dataset = dataset, gallery_dataset
        if len(dataset) == 0:
            raise InputError("The data set has no rows to evaluate on.")
        if (self.protocol.gallery == "train") != (gallery_dataset is not None):
            use = "searches the training split: pass it as" if gallery_dataset is None else "has no use for a"
            raise InputError(f"Protocol {self.protocol.name!r} {use} gallery_dataset.")
        self.image_column = _pick_column(dataset, image_column, COLUMNS["image"])
        self.text_column = _pick_column(dataset, text_column, COLUMNS["text"])
        by_caption = self.protocol.shared_caption == "all" or self.protocol.captions_per_item
        if by_caption and self.text_column == "text_features":
            raise InputError(
                f"Protocol {self.protocol.name!r} goes by single captions; {self.text_column!r} has one row of "
                "features an item and no words."
            )
        self.labels = self.gallery_labels = None
        if self.protocol.relevance == "class":
            self.labels = label_matrix(dataset)
            if gallery_dataset is not None:
                if class_names(dataset) != class_names(gallery_dataset):
                    raise InputError("The data set and the gallery do not have the same classes in the same order.")
                self.gallery_labels = label_matrix(gallery_dataset)

    def __call__(self, retriever: EncodesPairs, *, curves: bool = False) -> EvaluationResult:
        """Embed the split with a retriever and measure it; see [`evaluate_embeddings`]."""
        embeds = self._embed(retriever, real_valued=False)
        texts, caption_to_image = self._texts(self.dataset)
        return evaluate_embeddings(
            **embeds,
            labels=self.labels,
            gallery_labels=self.gallery_labels,
            protocol=self.protocol,
            caption_to_image=caption_to_image,
            text_ids=number_texts(texts) if self.protocol.shared_caption == "all" else None,
            real_valued=self._embed(retriever, real_valued=True) if self.protocol.rerank else None,
            curves=curves,
        )

    def _embed(self, retriever: EncodesPairs, real_valued: bool) -> dict[str, np.ndarray]:
        """Everything that is compared, by the argument names of [`evaluate_embeddings`]."""

        options = {"real_valued": True} if real_valued else {}

        def both(dataset: Dataset, as_pairs: bool) -> tuple[np.ndarray, np.ndarray]:
            images, texts = read_column(dataset, self.image_column), self._texts(dataset)[0]
            if as_pairs:
                pairs = retriever.encode_pairs(images, texts, **options)
                return pairs, pairs
            embeds = retriever.encode_images(images, **options)
            if self.protocol.captions == "set" or self.text_column == "text_features":
                return embeds, retriever.encode_texts(texts, **options)
            # Each different caption once: how a text is rounded may depend on its batch, and equal ones are to tie.
            row = {text: number for number, text in enumerate(dict.fromkeys(texts))}
            return embeds, retriever.encode_texts(list(row), **options)[[row[text] for text in texts]]

        names = ("image_embeds", "text_embeds")
        embeds = dict(zip(names, both(self.dataset, as_pairs=False), strict=True))
        if self.gallery_dataset is not None:
            gallery = both(self.gallery_dataset, as_pairs=self.protocol.gallery_view == "pair")
            embeds |= {f"gallery_{name}": rows for name, rows in zip(names, gallery, strict=True)}
        return embeds

    def _texts(self, dataset: Dataset) -> tuple[Sequence[Any], np.ndarray | None]:
        """What to encode as texts, and where captions are texts of their own the row that each belongs to."""
        sets = read_column(dataset, self.text_column)
        if self.text_column == "text_features":
            return sets, None
        for position, captions in enumerate(sets):
            if not captions:
                raise InputError(f"Item {position} of the data set has no text in {self.text_column!r}.")
        if self.protocol.captions == "set":
            return sets, None
        return spread_captions(sets, self.protocol.captions_per_item)


def _measure(
    protocol: Protocol, distances: Distances, query: _Items, gallery: _Items, curves: bool, description: str
) -> tuple[dict[str, float], dict[str, list[float]]]:
    if protocol.relevance == "pair":
        return _pair_metrics(protocol, Ranking(distances, query.labels, gallery.labels), description), {}
    own_pairs = None if protocol.keep_own_pair else (query.caption_to_image, gallery.caption_to_image)
    ranking = Ranking(distances, query.labels, gallery.labels, own_pairs)
    bits = kind_of(gallery.embeds).bits(gallery.embeds.shape[1])
    blocks = ranking.map(lambda *block: _class_metrics(protocol, *block, curves, bits), description)
    whole = {name: np.concatenate([values[name] for values in blocks]) for name in blocks[0]}
    numbers = {name: float(rows.mean()) if len(rows) else 0.0 for name, rows in whole.items() if rows.ndim == 1}
    curve = {name: rows.mean(axis=0).tolist() for name, rows in whole.items() if rows.ndim == 2 and len(rows)}
    if curve:
        curve["recall"] = np.linspace(0, 1, len(curve["precision"])).tolist()
    return numbers, curve


def _pair_metrics(protocol: Protocol, ranking: Ranking, description: str) -> dict[str, float]:
    """Recalls, the mean of them first, and ranks."""
    if protocol.ties == "expected":
        standing = np.concatenate(ranking.map(first_hit_ties, description), axis=1)
        ranks = metrics.expected_rank(*standing)
        recalls = {f"recall@{k}": metrics.expected_recall_at(*standing, k) for k in protocol.at}
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
    protocol: Protocol, distance: np.ndarray, relevant: np.ndarray, curves: bool, bits: int | None
) -> dict[str, np.ndarray]:
    """Numbers of each query of a block, `(b,)`, and points of its curves, `(b, points)`."""
    cut = protocol.cut_off or distance.shape[1]
    expected = protocol.ties == "expected"
    number = np.count_nonzero(relevant, axis=1) if protocol.at or protocol.ap_divisor != "hits" else None
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
            range_search = metrics.lookup_precision_recall(hits, scores, bits)
            values["lookup_precision"], values["lookup_recall"] = range_search
    return values


def _check_embeds(name: str, embeds: np.ndarray | None) -> np.ndarray:
    """Finite float32 rows of unit length (zero rows stay zero), or the packed codes as they are."""
    if embeds is None:
        raise InputError(f"{name} is missing: this protocol searches the training split.")
    embeds = np.asarray(embeds)
    if embeds.ndim != 2 or embeds.shape[1] == 0:
        raise InputError(f"{name} has shape {embeds.shape}; it must be (items, dimensions).")
    if len(embeds) == 0:
        raise InputError(f"{name} has no rows: there is nothing to evaluate.")
    if kind_of(embeds) is BINARY:
        return embeds
    if not np.issubdtype(embeds.dtype, np.floating):
        raise InputError(f"{name} has dtype {embeds.dtype}; floating rows or packed uint8 codes are wanted.")
    with np.errstate(over="ignore"):  # reported just below
        embeds = embeds.astype(np.float32)
    finite = np.isfinite(embeds).all(axis=1)
    if not finite.all():
        raise InputError(
            f"{name} has a NaN or infinite value in row {np.argmin(finite)} ({np.count_nonzero(~finite)} such rows); "
            "look for a diverged training run or broken features."
        )
    norms = np.sqrt(np.einsum("ij,ij->i", embeds, embeds, dtype=np.float64))
    embeds /= np.where(norms == 0, 1, norms)[:, None].astype(np.float32)
    return embeds


def _check_real_valued(
    protocol: Protocol, real_valued: Mapping[str, np.ndarray] | None, kind: EmbeddingKind, ways: Mapping[str, tuple]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Queries and gallery of each direction as rows of unit length."""
    if not kind.is_quantized:
        raise InputError(f"Protocol {protocol.name!r} re-ranks binary codes, and these embeddings are real-valued.")
    modalities = ["image_embeds", "text_embeds"]
    galleries = [f"gallery_{modality}" for modality in modalities] if protocol.gallery == "train" else modalities
    missing = [name for name in {*modalities, *galleries} if name not in (real_valued or {})]
    if missing:
        raise InputError(
            f"Protocol {protocol.name!r} re-ranks: it takes the real-valued {', '.join(sorted(missing))} too."
        )
    pairs = list(zip(modalities, reversed(galleries), strict=True))
    rows = [(_check_embeds(one, real_valued[one]), _check_embeds(other, real_valued[other])) for one, other in pairs]
    for (query, gallery), (one, other), names in zip(ways.values(), rows, pairs, strict=True):
        if (len(query.embeds), len(gallery.embeds)) != (len(one), len(other)) or one.shape[1] != other.shape[1]:
            raise InputError(
                f"The real-valued {' and '.join(names)} do not belong to the codes: {one.shape}, {other.shape}."
            )
    return rows


def _check_caption_to_image(
    protocol: Protocol, caption_to_image: np.ndarray | None, images: int, texts: int
) -> np.ndarray:
    if caption_to_image is None:
        if images != texts:
            raise InputError(
                f"{images} images and {texts} texts: give one text per image, or say in caption_to_image which "
                "image each caption belongs to."
            )
        caption_to_image = np.arange(images)
    elif protocol.captions == "set":
        raise InputError(
            f"Protocol {protocol.name!r} takes an item's captions as one text: embed them together, one row an item, "
            "and leave caption_to_image out."
        )
    caption_to_image = np.asarray(caption_to_image)
    if caption_to_image.shape != (texts,) or not np.issubdtype(caption_to_image.dtype, np.integer):
        raise InputError(
            f"caption_to_image must be {texts} integers, one a text; it has shape {caption_to_image.shape}."
        )
    if caption_to_image.min() < 0 or caption_to_image.max() >= images:
        raise InputError(
            f"caption_to_image must hold rows of the {images} images; it has {caption_to_image.min()} to "
            f"{caption_to_image.max()}."
        )
    counts = np.bincount(caption_to_image, minlength=images)
    if protocol.relevance == "pair" and not counts.all():
        raise InputError(
            f"Image {counts.argmin()} has no caption ({np.count_nonzero(counts == 0)} such images), so it cannot be "
            "looked for."
        )
    wanted = protocol.captions_per_item
    if wanted and (counts != wanted).any():
        other = np.argmax(counts != wanted)
        raise InputError(
            f"Protocol {protocol.name!r} counts {wanted} captions an item, and image {other} has {counts[other]}: "
            "repeat or cut them by spread_captions before they are embedded."
        )
    return caption_to_image


def _check_text_ids(protocol: Protocol, ids: np.ndarray | None, texts: int) -> np.ndarray | None:
    if ids is None:
        if protocol.shared_caption == "all":
            raise InputError(
                f"Protocol {protocol.name!r} takes a caption for right at each image that carries it: say in text_ids "
                "which texts are equal, by number_texts."
            )
        return None
    if protocol.shared_caption == "own":
        raise InputError(f"Protocol {protocol.name!r} does not ask which texts are equal: leave text_ids out.")
    ids = np.asarray(ids)
    if ids.shape != (texts,) or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"text_ids must be {texts} integers, one a text; it has shape {ids.shape}.")
    return ids


def _own_pairs(images: int, caption_to_image: np.ndarray, text_ids: np.ndarray | None) -> tuple[Any, Any]:
    """What makes an image and a text each other's: the image's row or, with ids, the texts that the image carries."""
    if text_ids is None:
        return np.arange(images), caption_to_image
    distinct, number = np.unique(text_ids, return_inverse=True)

    def multi_hot(row: np.ndarray, rows: int) -> csr_array:
        return csr_array((np.ones(len(row), bool), (row, number)), shape=(rows, len(distinct)))

    return multi_hot(caption_to_image, images), multi_hot(np.arange(len(caption_to_image)), len(caption_to_image))


def _check_labels(name: str, labels: np.ndarray | None, items: int, protocol: Protocol) -> np.ndarray:
    if labels is None:
        raise InputError(f"{name} is missing: protocol {protocol.name!r} calls items of one class relevant.")
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or len(labels) != items:
        raise InputError(f"{name} has shape {labels.shape}; it must be ({items},) or ({items}, classes).")
    if labels.ndim == 2:
        if not np.isin(labels, (0, 1)).all():
            raise InputError(f"{name} must be multi-hot: zeros and ones.")
        return labels.astype(np.float32)
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise InputError(f"{name} must be classes from 0 as integers; an item without a class has to be left out.")
    return labels


def _check_comparable(protocol: Protocol, query: _Items, gallery: _Items) -> None:
    if (query.embeds.dtype, query.embeds.shape[1]) != (gallery.embeds.dtype, gallery.embeds.shape[1]):
        raise InputError(
            f"The queries are {described(query.embeds)} and the gallery {described(gallery.embeds)}: embed both with "
            "one checkpoint."
        )
    if query.labels.shape[1:] != gallery.labels.shape[1:]:
        raise InputError("labels and gallery_labels differ in their number of classes, or only one is multi-hot.")
    for k in (*protocol.at, protocol.cut_off or 1):
        if k > len(gallery.embeds):
            raise InputError(
                f"Protocol {protocol.name!r} looks at {k} ranks, but the gallery has {len(gallery.embeds)} items; "
                "change k with get_protocol(name, cut_off=…, at=…)."
            )


def _pick_column(dataset: Dataset, wanted: str | None, known: tuple[str, str]) -> str:
    present = [column for column in known if column in dataset.column_names]
    if wanted is None and len(present) == 1:
        return present[0]
    if wanted in present:
        return wanted
    if wanted is None and present:
        raise InputError(f"The data set has both {known[0]!r} and {known[1]!r}; say which one the retriever takes.")
    raise InputError(
        f"The data set has no column {wanted or f'{known[0]!r} or {known[1]!r}'}; it has "
        f"{', '.join(dataset.column_names) or 'none'}."
    )
