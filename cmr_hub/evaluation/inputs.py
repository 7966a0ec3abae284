"""Checks of what an evaluation is given, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from cmr_hub.errors import InputError
from cmr_hub.modeling.embeddings import BINARY, EmbeddingKind, described, kind_of, warn_if_identical
from cmr_hub.modeling.parts import balanced, focused

from .directions import DIRECTIONS
from .protocols import Protocol


@dataclass(frozen=True)
class Items:
    """One modality of one split.

    Attributes:
        embeds: `(n, d)` float32 rows of unit length, or packed codes.
        labels: what relevance goes by: `(n,)` classes or rows of images, or `(n, classes)` multi-hot.
        caption_to_image: `(n,)`, the row of the image that each belongs to.
    """

    embeds: np.ndarray
    labels: np.ndarray | csr_array
    caption_to_image: np.ndarray


@dataclass(frozen=True)
class Inputs:
    """What is measured, checked.

    Attributes:
        ways: direction -> queries and gallery.
        kind: the kind of the embeddings.
        real_valued: queries and gallery of each direction as real-valued rows, for protocols that re-rank codes.
        class_dim: width of the class part, for protocols with a focus; else 0.
    """

    ways: Mapping[str, tuple[Items, Items]]
    kind: EmbeddingKind
    real_valued: list[tuple[np.ndarray, np.ndarray]]
    class_dim: int = 0


def check_inputs(
    protocol: Protocol,
    embeds: Mapping[str, np.ndarray | None],
    *,
    labels: np.ndarray | None,
    gallery_labels: np.ndarray | None,
    caption_to_image: np.ndarray | None,
    text_ids: np.ndarray | None,
    real_valued: Mapping[str, np.ndarray] | None,
    class_dim: int | None,
    curves: bool,
) -> Inputs:
    """Check the arguments of [`evaluate_embeddings`] and pair queries with galleries.

    Args:
        protocol: defines what is needed.
        embeds: "image_embeds", "text_embeds", and these with "gallery_" before them.
        labels: classes of the items that are queries.
        gallery_labels: classes of the training split.
        caption_to_image: for each text the row of its image.
        text_ids: integers, equal where two texts are.
        real_valued: argument name of codes -> the real-valued rows that re-rank them.
        class_dim: width of the class part of embeddings of two parts.
        curves: whether precision-recall curves are asked for.

    Raises:
        InputError: as [`evaluate_embeddings`] says.
    """
    images, texts = _check_queries(protocol, embeds, labels, caption_to_image, text_ids)
    gallery_images, gallery_texts = images, texts
    if protocol.gallery == "train":
        gallery_images, gallery_texts = _check_gallery(protocol, embeds, gallery_labels)
    else:
        given = {**embeds, "gallery_labels": gallery_labels}
        if unused := [name for name, value in given.items() if name.startswith("gallery_") and value is not None]:
            raise InputError(
                f"Protocol {protocol.name!r} searches the queries' own split and has no use for {', '.join(unused)}."
            )
    if curves and (protocol.relevance == "pair" or protocol.rerank):
        raise InputError(
            f"Precision-recall curves are of classes and of one ranking; protocol {protocol.name!r} looks for own "
            "pairs, or re-ranks."
        )
    ways = dict(zip(DIRECTIONS, ((images, gallery_texts), (texts, gallery_images)), strict=True))
    for query, gallery in ways.values():
        _check_comparable(protocol, query, gallery)
    kind = kind_of(images.embeds)
    rows = _check_real_valued(protocol, real_valued, kind, ways) if protocol.rerank else []
    if protocol.focus is None:
        return Inputs(ways, kind, rows)
    width = kind.bits(images.embeds.shape[1]) or images.embeds.shape[1]
    checked = check_parts(protocol, class_dim)
    if not 0 < checked < width:
        raise InputError(f"class_dim is {checked}: of {width} dimensions or bits, each part needs at least one.")
    weighed = [
        (focused(balanced(query, checked), checked, protocol.focus), balanced(gallery, checked))
        for query, gallery in rows
    ]
    return Inputs(ways, kind, weighed, checked)


def check_parts(protocol: Protocol, class_dim: int | None) -> int:
    """The width of the class part of embeddings, for a protocol that has a focus.

    Raises:
        InputError: embeddings have one part.
    """
    if class_dim is None:
        raise InputError(
            f"Protocol {protocol.name!r} has a focus, which weighs a class part and an item part, and these "
            "embeddings have one part: leave the focus out, or take a method with both, such as unified."
        )
    return class_dim


def _check_queries(
    protocol: Protocol,
    embeds: Mapping[str, np.ndarray | None],
    labels: np.ndarray | None,
    caption_to_image: np.ndarray | None,
    text_ids: np.ndarray | None,
) -> tuple[Items, Items]:
    """Images and texts of the split that is measured."""
    images, texts = (_check_embeds(name, embeds[name]) for name in ("image_embeds", "text_embeds"))
    caption_to_image = _check_caption_to_image(protocol, caption_to_image, len(images), len(texts))
    text_ids = _check_text_ids(protocol, text_ids, len(texts))
    if protocol.relevance == "class":
        of_images = _check_labels("labels", labels, len(images), protocol)
        of_texts = of_images[caption_to_image]
    else:
        of_images, of_texts = _own_pairs(len(images), caption_to_image, text_ids)
    return Items(images, of_images, np.arange(len(images))), Items(texts, of_texts, caption_to_image)


def _check_gallery(
    protocol: Protocol, embeds: Mapping[str, np.ndarray | None], labels: np.ndarray | None
) -> tuple[Items, Items]:
    """Images and texts of the training split."""
    images, texts = (_check_embeds(name, embeds[name]) for name in ("gallery_image_embeds", "gallery_text_embeds"))
    caption_to_image = _check_caption_to_image(protocol, None, len(images), len(texts))
    classes = _check_labels("gallery_labels", labels, len(images), protocol)
    return Items(images, classes, caption_to_image), Items(texts, classes, caption_to_image)


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
        warn_if_identical(embeds, name)
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
    warn_if_identical(embeds, name)
    return embeds


def _check_real_valued(
    protocol: Protocol, real_valued: Mapping[str, np.ndarray] | None, kind: EmbeddingKind, ways: Mapping[str, tuple]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Queries and gallery of each direction as rows of unit length."""
    if not kind.is_quantized:
        raise InputError(f"Protocol {protocol.name!r} re-ranks binary codes, and these embeddings are real-valued.")
    modalities = ["image_embeds", "text_embeds"]
    galleries = [f"gallery_{modality}" for modality in modalities] if protocol.gallery == "train" else modalities
    values = real_valued or {}
    if missing := [name for name in {*modalities, *galleries} if name not in values]:
        raise InputError(
            f"Protocol {protocol.name!r} re-ranks: it takes the real-valued {', '.join(sorted(missing))} too."
        )
    pairs = list(zip(modalities, reversed(galleries), strict=True))
    rows = [(_check_embeds(one, values[one]), _check_embeds(other, values[other])) for one, other in pairs]
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


def _check_comparable(protocol: Protocol, query: Items, gallery: Items) -> None:
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
