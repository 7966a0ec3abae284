"""Embeds queries by networks that were exported from a checkpoint, without torch: in a tenth of a second, cold.

[`~cmr_hub.retrieval.query_export.export_query_encoder`] writes the folder that is read here. What it does not cover is
embedded by the checkpoint itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from cmr_hub.encoders.squares import centre_square, squeeze
from cmr_hub.encoders.tokenise import tokenise
from cmr_hub.errors import CheckpointError, CMRError
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import checked
from cmr_hub.utils.files import cache_folder
from cmr_hub.utils.images import ImageSource, load_image

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FORMAT = 1  # of the files; others are not read
FILE = "query_encoder.json"
NETWORK_FILES = {"openvino": "network.xml", "onnx": "network.onnx"}
MIN_SPELLED = 3  # letters of a word that pieces of single letters say nothing of


class UncoveredError(Exception):
    """A query that the exported networks do not embed as the checkpoint does."""


def export_folder(fingerprint: str) -> Path:
    """Where the networks of a checkpoint are, by its fingerprint."""
    return cache_folder("query-encoders") / fingerprint


class QueryEncoder:
    """Texts and images to embeddings, as the checkpoint gives them.

    Args:
        folder: of the exported networks.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """

    def __init__(self, folder: Path):
        with checked(folder):
            self._said = read_json(folder / FILE)
        if self._said.get("format") != FORMAT:
            raise CheckpointError(f"{folder} is of another version: index again.")
        self.folder = folder

    @classmethod
    def find(cls, fingerprint: str) -> QueryEncoder | None:
        """The encoder of a checkpoint; None where it was not exported, or cannot be used."""
        folder = export_folder(fingerprint)
        try:
            return cls(folder) if folder.is_dir() else None
        except (CMRError, OSError):
            return None

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """`(n, d)` float32 rows of unit length.

        Raises:
            UncoveredError: a text has words that the checkpoint does not know, or more of them than it reads.
        """
        parts = [np.concatenate([part(text) for part in self._text_parts]) for text in texts]
        return _unit(self._head("text")(np.stack(parts)))

    @property
    def has_images(self) -> bool:
        """Whether it embeds images too."""
        return bool(self._said["image"])

    def embed_images(self, images: Sequence[ImageSource]) -> np.ndarray:
        """`(n, d)` float32 rows of unit length.

        Raises:
            UncoveredError: the checkpoint's image encoder is not exported.
            InputError: an image cannot be used.
        """
        parts = [np.concatenate([part(image) for part in self._image_parts]) for image in images]
        return _unit(self._head("image")(np.stack(parts)))

    @cached_property
    def _text_parts(self) -> list[Any]:
        kinds = {"network": _TextNetwork, "counts": _Counts}
        return [kinds[part["kind"]](part, self) for part in self._said["text"]]

    @cached_property
    def _image_parts(self) -> list[Any]:
        if not self.has_images:
            raise UncoveredError("the image encoder is not exported")
        return [_ImageNetwork(part, self) for part in self._said["image"]]

    def _head(self, modality: str) -> Any:
        return self.network(self._said["heads"][modality])

    def network(self, folder: str) -> Any:
        """A network that takes and gives arrays.

        Args:
            folder: where its conversion is.

        Raises:
            UncoveredError: it is no longer there, or cannot be computed here.
        """
        path = Path(folder) / NETWORK_FILES[self._said["backend"]]
        try:
            with checked(folder):
                return _NETWORKS[self._said["backend"]](path)
        except Exception as error:  # of many kinds, by what is missing
            raise UncoveredError(f"{path} cannot be used: {error}") from error


def _openvino_network(path: Path) -> Any:
    import openvino

    core = openvino.Core()
    network = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})
    return lambda *inputs: network(list(inputs))[0]


def _onnx_network(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))[0]


_NETWORKS = {"openvino": _openvino_network, "onnx": _onnx_network}


class _TextNetwork:
    """A text model of sentence-transformers."""

    def __init__(self, said: dict[str, Any], encoder: QueryEncoder):
        self._said, self._encoder = said, encoder

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._encoder.folder / self._said["tokenizer"]))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def _network(self) -> Any:
        return self._encoder.network(self._said["network"])

    def __call__(self, text: str) -> np.ndarray:
        if self._said["lowers_case"]:
            text = text.lower()
        read = self._tokenizer.encode(text)
        self._check(text, read)
        tokens = {"input_ids": read.ids, "token_type_ids": read.type_ids, "attention_mask": read.attention_mask}
        outputs = self._network(*(np.array([tokens[name]], np.int64) for name in self._said["inputs"]))[0]
        if outputs.ndim == 2:
            outputs = outputs.mean(axis=0) if self._said["pooling"] == "mean" else outputs[0]
        return _unit(outputs[None])[0] if self._said["normalizes"] else outputs

    def _check(self, text: str, read: Any) -> None:
        """Leave texts to the checkpoint that it says something of."""
        if not text.strip() or len(read.ids) > self._said["max_length"] or self._said["unknown"] in read.ids:
            raise UncoveredError("the text has unknown words, or too many of them")
        words = [(word, end - start) for word, (start, end) in zip(read.word_ids, read.offsets, strict=True)]
        for word, pieces in groupby((entry for entry in words if entry[0] is not None), lambda entry: entry[0]):
            lengths = [length for _, length in pieces]
            if len(lengths) >= MIN_SPELLED and max(lengths) == 1:
                raise UncoveredError(f"word {word} of the text is spelled letter by letter")


class _Counts:
    """Counts of the words of a vocabulary, weighted or not."""

    def __init__(self, said: dict[str, Any], encoder: QueryEncoder):
        self._said = said
        words = json.loads((encoder.folder / said["vocabulary"]).read_text(encoding="utf-8"))
        self._columns = {word: column for column, word in enumerate(words)}
        self._idf = load_file(encoder.folder / said["idf"])["idf"] if said["idf"] else None

    def __call__(self, text: str) -> np.ndarray:
        counts = np.zeros(len(self._columns), np.float32)
        known = [self._columns[word] for word in tokenise(text) if word in self._columns]
        np.add.at(counts, known, 1)
        if self._said["binary"]:
            counts = counts.clip(max=1)
        return counts if self._idf is None else _unit((counts * self._idf)[None])[0]


class _ImageNetwork:
    """An EfficientNet-Lite, of the whole image or its central square."""

    def __init__(self, said: dict[str, Any], encoder: QueryEncoder):
        self._said, self._encoder = said, encoder

    @cached_property
    def _network(self) -> Any:
        return self._encoder.network(self._said["network"])

    def __call__(self, source: ImageSource) -> np.ndarray:
        image, size = load_image(source, min_side=self._said["min_side"]), self._said["size"]
        if self._said["view"] == "whole":
            pixels = squeeze([image], size)
        else:
            pixels = np.asarray(centre_square(image, size, self._said["share"]))[None]
        values = (pixels.astype(np.float32) - self._said["mean"]) / self._said["std"]
        return self._network(np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)).reshape(-1)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
