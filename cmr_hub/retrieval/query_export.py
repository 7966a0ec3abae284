"""Exports what embeds queries, so that a search needs no torch; see `query_encoder`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from torch import nn

from cmr_hub.encoders.backends import CONVERTERS, F32, Conversion, ConversionError, chosen_backend, default_backend
from cmr_hub.encoders.bag_of_words import BagOfWordsEncoder, TfidfEncoder
from cmr_hub.encoders.base import Encoder, NetworkEncoder
from cmr_hub.encoders.concat import ConcatEncoder
from cmr_hub.encoders.efficientnet_lite import MARGIN, MEAN, STD, EfficientNetLiteEncoder
from cmr_hub.encoders.sentence_transformers_models import SentenceTransformersEncoder
from cmr_hub.errors import CMRError
from cmr_hub.utils.checksums import saved

from .query_encoder import FILE, FORMAT, QueryEncoder, UncoveredError, export_folder
from .retriever import Retriever

logger = logging.getLogger(__name__)

TEXTS = ("two dogs run on the beach", "A man's red car, parked 3.5 m from a tree!")  # that are compared
TOLERANCE = 1e-3  # of embeddings


class _Head(nn.Module):
    """What a model makes of the features of one modality."""

    def __init__(self, model: Any, modality: str):
        super().__init__()
        self.model, self.modality = model, modality

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        embed = self.model.get_text_features if self.modality == "text" else self.model.get_image_features
        return embed(features)


def export_query_encoder(retriever: Retriever) -> Path | None:
    """Export the networks that embed queries, unless that was done before.

    Covered are checkpoints whose embeddings are vectors of one part, and whose text encoder is a model of
    sentence-transformers, alone or joined with counts of words; images where the encoders are EfficientNet-Lite.
    OpenVINO or ONNX Runtime has to be installed.

    Args:
        retriever: the checkpoint, on the CPU.

    Returns:
        The folder, or None where the checkpoint is not covered: then queries are embedded by the checkpoint itself.
    """
    backend = chosen_backend(default_backend(), F32, "cpu")
    is_plain = not retriever.model.is_hashing and retriever.class_dim is None
    if backend not in CONVERTERS or not is_plain or str(retriever.model.device) != "cpu":
        return None
    folder = export_folder(retriever.fingerprint)
    if QueryEncoder.find(retriever.fingerprint) is not None:
        return folder
    try:
        with saved(folder, replaces=("*",)) as scratch:
            _write(retriever, backend, scratch)
        _check(retriever, QueryEncoder(folder))
    except (ConversionError, UncoveredError, CMRError) as error:
        logger.debug("Queries are embedded by the checkpoint itself: %s", error)
        (folder / FILE).unlink(missing_ok=True)
        return None
    return folder


def _write(retriever: Retriever, backend: str, folder: Path) -> None:
    processor = retriever.processor
    text = [
        _text_part(encoder, backend, folder, number) for number, encoder in enumerate(_parts(processor.text_encoder))
    ]
    if not any(part["kind"] == "network" for part in text):
        raise UncoveredError("which words are unknown the encoder alone can say")
    try:
        image = [_image_part(encoder, backend) for encoder in _parts(processor.image_encoder)]
    except UncoveredError:
        image = []
    widths = {"text": processor.text_encoder.dim, **({"image": processor.image_encoder.dim} if image else {})}
    heads = {name: _converted_head(retriever, name, width, backend) for name, width in widths.items()}
    said = {"format": FORMAT, "backend": backend, "text": text, "image": image, "heads": heads}
    (folder / FILE).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def _parts(encoder: Encoder) -> Sequence[Encoder]:
    return encoder.encoders if isinstance(encoder, ConcatEncoder) else [encoder]


def _text_part(encoder: Encoder, backend: str, folder: Path, number: int) -> dict[str, Any]:
    if isinstance(encoder, SentenceTransformersEncoder) and encoder._preprocessor.is_fast:
        name = f"tokenizer_{number}.json"
        encoder._preprocessor.backend_tokenizer.save(str(folder / name))
        return {
            "kind": "network",
            "network": _converted(encoder, backend),
            "tokenizer": name,
            "inputs": encoder._token_names,
            "max_length": encoder._max_length,
            "unknown": encoder._preprocessor.unk_token_id,
            "pooling": encoder._settings.pooling,
            "normalizes": encoder._settings.normalizes,
            "lowers_case": encoder._settings.lowers_case,
        }
    if isinstance(encoder, BagOfWordsEncoder) and encoder.name in ("bow", "tfidf"):
        vocabulary, idf = f"vocabulary_{number}.json", None
        (folder / vocabulary).write_text(json.dumps(encoder.vocabulary, ensure_ascii=False), encoding="utf-8")
        if isinstance(encoder, TfidfEncoder):
            idf = f"idf_{number}.safetensors"
            save_file({"idf": encoder.idf}, folder / idf)
        return {"kind": "counts", "vocabulary": vocabulary, "idf": idf, "binary": encoder.binary}
    raise UncoveredError(f"{encoder.name} is not covered")


def _image_part(encoder: Encoder, backend: str) -> dict[str, Any]:
    if not isinstance(encoder, EfficientNetLiteEncoder) or encoder.grid is not None:
        raise UncoveredError(f"{encoder.name} is not covered")
    return {
        "network": _converted(encoder, backend),
        "size": encoder.size,
        "share": encoder.size / (encoder.size + MARGIN),
        "min_side": encoder.min_side,
        "view": encoder.view,
        "mean": MEAN,
        "std": STD,
    }


def _converted(encoder: NetworkEncoder, backend: str) -> str:
    """The folder of an encoder's conversion, which its own use shares."""
    exact = Encoder.fingerprint.fget(encoder)  # type: ignore[attr-defined]  # without the precision
    conversion = Conversion(backend, encoder.name, exact)
    if conversion.load(F32) is None:
        examples = [encoder._example_inputs(2), encoder._example_inputs(3)]
        conversion.make(encoder._tower, examples, encoder.varying_sizes, F32)
    return str(conversion.folder)


def _converted_head(retriever: Retriever, modality: str, width: int, backend: str) -> str:
    conversion = Conversion(backend, f"{modality}-head", f"{retriever.fingerprint} {modality}")
    if conversion.load(F32) is None:
        rng = np.random.default_rng(0)
        examples = [(torch.from_numpy(rng.random((count, width), np.float32)),) for count in (2, 3)]
        conversion.make(_Head(retriever.model, modality).eval(), examples, 1, F32)
    return str(conversion.folder)


def _check(retriever: Retriever, encoder: QueryEncoder) -> None:
    """Compare the embeddings of a few queries with the checkpoint's own.

    Raises:
        UncoveredError: they differ.
    """
    pairs = [(encoder.embed_texts(TEXTS), retriever.encode_texts(TEXTS))]
    if encoder.has_images:
        noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        pairs.append((encoder.embed_images([image]), retriever.encode_images([image])))
    for found, expected in pairs:
        if not np.abs(found - expected).max() <= TOLERANCE:
            raise UncoveredError(f"embeddings differ by {np.abs(found - expected).max():.2g}")
