"""Small examples of every kind of folder that the package saves, and their answers when they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from datasets import Dataset
from PIL import Image

import cmr_hub
from attempts import Failure
from cmr_hub import Gallery, SpreadingVectorsModel
from cmr_hub.encoders import create_encoder
from cmr_hub.indexes import load_index
from cmr_hub.processing.feature_store import FeatureStore
from cmr_hub.retrieval.gallery_layout import RETRIEVER
from small_indexes import SETTINGS, make, vectors_for
from toys import COLOURS, feature_dataset, feature_retriever, image_dataset

VARIANTS = 2  # of each kind: same shapes, other content
ROWS = np.random.default_rng(5).normal(size=(3, 6)).astype(np.float32)
TEXT_ROWS = np.random.default_rng(6).normal(size=(3, 4)).astype(np.float32)
TEXTS = ["a red square", "green paint"]
ITEMS = 30
SHARD_ROWS = 8

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Saved:
    """One kind of folder.

    Attributes:
        group: what is saved: "checkpoint", "gallery" …
        name: of this kind within its group.
        save: writes variant 0 or 1 into a folder.
        ask: loads a folder and asks it for everything that depends on its files.
    """

    group: str
    name: str
    save: Callable[[Path, int], None]
    ask: Callable[[Path], Answer]

    def make(self, folder: Path, variant: int) -> Path:
        """The folder of a variant, written first where it is not there yet."""
        path = folder / f"{self.name}-{variant}"
        if not path.exists():
            self.save(path, variant)
        return path


def images() -> list[Image.Image]:
    return [Image.new("RGB", (8, 8), colour) for colour in COLOURS.values()]


@cache
def pixel_retriever(variant: int, *, text: str = "bow", method: str = "cca") -> cmr_hub.Retriever:
    """A retriever on images and strings whose vocabulary is in another order in each variant."""
    torch.manual_seed(variant)
    image = create_encoder("image", "pixels", size=4)
    words = create_encoder("text", text).fit([" ".join(COLOURS), "a square of paint"])
    if variant:
        words._set_vocabulary(words.vocabulary[::-1])
    config: Any = {"image_dim": image.dim, "text_dim": words.dim}
    if method == "cca":
        model = cmr_hub.CCAModel(cmr_hub.CCAConfig(**config, embed_dim=3, regularization=0.1))
    else:
        model = cmr_hub.SHModel(cmr_hub.SHConfig(**config, embed_dim=16))
    model.fit(torch.randn(80, image.dim), torch.randn(80, words.dim))
    return cmr_hub.Retriever(model, cmr_hub.CMRProcessor(image, words), name=f"toy-{variant}")


@cache
def vectors_retriever(method: str, variant: int) -> cmr_hub.Retriever:
    retriever = feature_retriever(method, seed=variant)
    retriever.name = f"toy-{variant}"
    return retriever


@cache
def transformers_retriever(folder: Path, variant: int) -> cmr_hub.Retriever:
    """A retriever whose image encoder is a network that is saved with it."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(variant)
    size: Any = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    path = folder / f"vit-{variant}"
    ViTModel(ViTConfig(**size, image_size=8, patch_size=4)).save_pretrained(path)
    ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(path)
    image = create_encoder("image", f"transformers/{path}")
    text = create_encoder("text", "tfidf").fit([" ".join(COLOURS), "a square of paint"])
    model = cmr_hub.CCAModel(cmr_hub.CCAConfig(image_dim=8, text_dim=text.dim, embed_dim=3, regularization=0.1))
    model.fit(torch.randn(80, 8), torch.randn(80, text.dim))
    return cmr_hub.Retriever(model, cmr_hub.CMRProcessor(image, text), name=f"toy-{variant}")


def ask_vectors(folder: Path) -> Answer:
    retriever = cmr_hub.from_pretrained(folder)
    return {"embeds": [retriever.encode_images(ROWS), retriever.encode_texts(TEXT_ROWS)]}


def ask_raw(folder: Path) -> Answer:
    retriever = cmr_hub.from_pretrained(folder)
    return {"embeds": [retriever.encode_images(images()), retriever.encode_texts(TEXTS)]}


def ask_quantizer(folder: Path) -> Answer:
    return {"embeds": [SpreadingVectorsModel.from_pretrained(folder).eval().catalyse(vectors_for("exact", 5))]}


def ask_index(folder: Path) -> Answer:
    index = load_index(folder)
    scores, ids = index.search(vectors_for(index.name, 3), k=5)
    return {"scores": scores[np.isfinite(scores)], "ids": ids.tolist()}


def ask_gallery(folder: Path) -> Answer:
    return answers_of(Gallery.from_pretrained(folder))


def store_features(folder: Path, retriever: cmr_hub.Retriever) -> Answer:
    """The features of more images than one shard has, stored in a folder or read from there."""
    with patch("cmr_hub.processing.feature_store.SHARD_ROWS", 2):
        rows = FeatureStore(retriever.processor.image_encoder, folder).encode(images())
    return {"rows": rows.numpy()}


def answers_of(gallery: Gallery) -> Answer:
    """What a gallery finds by each of its modalities, and everything that it tells of its items."""
    raw = gallery.retriever.processor.text_encoder.accepts_raw_input
    k = min(5, len(gallery) - 1)
    hits = [gallery.search(item=gallery.ids[0], target=target, k=k) for target in gallery.embeds]
    if raw:
        hits.append(gallery.search(text="green paint", target="image", k=k))
        hits.append(gallery.search(image=images()[0], target="text", k=k))
    if gallery.real_valued:
        hits.append(gallery.search(item=gallery.ids[0], k=k, rerank=k + 2))
    seen = [gallery.image(row) for row in range(min(3, len(gallery)))]
    return {
        "scores": np.array([hit.score for found in hits for hit in found]),
        "ids": [[hit.id for hit in found] for found in hits],
        "items": gallery.ids,
        "texts": [list(gallery.texts(row)) for row in range(len(gallery))],
        "labels": [list(gallery.labels(row)) for row in range(len(gallery))],
        "pixels": [np.asarray(image).tolist() for image in seen if image is not None],
    }


def raw_items(folder: Path, variant: int) -> Dataset:
    """Images of three colours, in an order of each variant."""
    folder.mkdir(parents=True, exist_ok=True)
    items = image_dataset(folder)
    return items.select([2, 0, 1]) if variant else items


def _gallery(folder: Path, variant: int, dataset: Dataset, retriever: cmr_hub.Retriever, **options: Any) -> None:
    gallery = Gallery.from_dataset(dataset, retriever, name=f"Variant {variant}", cache=False, **options)
    gallery.save_pretrained(folder)
    retriever.save_pretrained(folder / RETRIEVER)


def everything(folder: Path) -> list[Saved]:
    """All kinds.

    Args:
        folder: scratch space for what they are made from.
    """
    items = [raw_items(folder / f"images-{variant}", variant) for variant in range(VARIANTS)]
    vectors = [feature_dataset(ITEMS, seed=variant) for variant in range(VARIANTS)]

    def checkpoint(name: str, made: Callable[[int], cmr_hub.Retriever], ask: Callable[[Path], Answer]) -> Saved:
        return Saved("checkpoint", name, lambda path, variant: made(variant).save_pretrained(path), ask)

    def gallery(name: str, made: Callable[[int], cmr_hub.Retriever], of: list[Dataset], **options: Any) -> Saved:
        return Saved(
            "gallery",
            f"gallery-{name}",
            lambda path, variant: _gallery(path, variant, of[variant], made(variant), **options),
            ask_gallery,
        )

    def index(name: str) -> Saved:
        def save(path: Path, variant: int) -> None:
            made = make(name, vectors_for(name, 200 + variant)[variant:])
            made.save(path)

        return Saved("index", f"index-{name}", save, ask_index)

    def save_quantizer(path: Path, variant: int) -> None:
        model = SpreadingVectorsModel.from_pretrained(SETTINGS["lattice"]["catalyser"])
        with torch.no_grad():
            for weights in model.parameters():
                weights.copy_(weights.roll(variant, dims=-1))
        model.save_pretrained(path)

    def ask_features(path: Path) -> Answer:
        return store_features(path, transformers_retriever(folder, 0))

    def save_features(path: Path, variant: int) -> None:
        ask_features(path)  # stores them

    def hashing(variant: int) -> cmr_hub.Retriever:
        return vectors_retriever("sh", variant)

    def closed_form(variant: int) -> cmr_hub.Retriever:
        return vectors_retriever("cca", variant)

    return [
        checkpoint("dscmr", lambda variant: vectors_retriever("dscmr", variant), ask_vectors),
        checkpoint("cca", closed_form, ask_vectors),
        checkpoint("sh", hashing, ask_vectors),
        checkpoint("raw-bow", pixel_retriever, ask_raw),
        checkpoint("raw-tfidf", lambda variant: pixel_retriever(variant, text="tfidf", method="sh"), ask_raw),
        checkpoint("raw-vit", lambda variant: transformers_retriever(folder, variant), ask_raw),
        gallery("raw", pixel_retriever, items),
        gallery("vectors", closed_form, vectors),
        gallery("codes", hashing, vectors, keep_real_valued=True),
        gallery("lsh", closed_form, vectors, index="lsh", index_options={"tables": 4, "bits": 3, "probes": 4}),
        gallery("faiss", closed_form, vectors, index="faiss", index_options={"factory": "Flat"}),
        *map(index, SETTINGS),
        Saved("quantizer", "quantizer", save_quantizer, ask_quantizer),
        Saved("features", "features", save_features, ask_features),
    ]


def same(found: Answer, expected: Answer) -> bool:
    """Whether two answers are one, but for rounding."""
    return found.keys() == expected.keys() and all(_alike(found[key], expected[key]) for key in found)


def _alike(found: Any, expected: Any) -> bool:
    if isinstance(found, np.ndarray):
        return (
            found.shape == expected.shape and found.dtype == expected.dtype and np.allclose(found, expected, atol=1e-4)
        )
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_alike, found, expected))
    return found == expected


def check_sane(answer: Answer) -> None:
    """Refuse an answer that no intact folder gives: scores that are no cosines, rows that are longer than 1."""
    scores = answer.get("scores", np.empty(0))
    if not (np.isfinite(scores).all() and (np.abs(scores) <= 1.001).all()):
        raise Failure(f"scores from {scores.min():g} to {scores.max():g}")
    for rows in answer.get("embeds", ()):
        # A row may be zero: so is that of a text without any known word.
        if rows.dtype != np.uint8 and not (np.linalg.norm(rows, axis=1) <= 1.001).all():
            raise Failure(f"rows of lengths {np.linalg.norm(rows, axis=1).round(3).tolist()}")
