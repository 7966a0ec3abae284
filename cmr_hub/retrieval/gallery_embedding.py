"""Embedding the items of a data set: at once, or chunk by chunk without those that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from cmr_hub.data.columns import COLUMNS, Modality, column_of, read_column
from cmr_hub.data.image_cells import ImageFiles
from cmr_hub.errors import InputError

from .gallery_files import EMBEDS, REAL_VALUED
from .retriever import Retriever

logger = logging.getLogger(__name__)


def embed_at_once(
    dataset: Dataset, retriever: Retriever, *, cache: bool, show_progress: bool, keep_real_valued: bool
) -> tuple[dict[Modality, np.ndarray], dict[Modality, np.ndarray]]:
    """Embed images and texts of a data set that fits in memory.

    Args:
        dataset: the items.
        retriever: the checkpoint.
        cache: keep the frozen encoder's features on disk.
        show_progress: show a bar.
        keep_real_valued: of a hashing method, keep the values behind the codes too.

    Returns:
        Modality -> embeddings; and modality -> the real values behind codes, empty where they are not kept.

    Raises:
        InputError: a column that the checkpoint needs is missing, or an item cannot be used.
    """
    images, texts = _inputs(dataset, retriever, "image"), _inputs(dataset, retriever, "text")
    embeds: dict[Modality, np.ndarray] = {
        "image": retriever.encode_images(images, cache=cache, show_progress=show_progress),
        "text": retriever.encode_texts(texts, cache=cache, show_progress=show_progress),
    }
    real_valued: dict[Modality, np.ndarray] = {}
    if keep_real_valued and retriever.model.is_hashing:
        real_valued["image"] = retriever.encode_images(images, cache=cache, real_valued=True)
        real_valued["text"] = retriever.encode_texts(texts, cache=cache, real_valued=True)
    return embeds, real_valued


class ChunkEmbedder:
    """Embeds items chunk by chunk.

    Args:
        retriever: the checkpoint.
        columns: of the items; the modalities are those that they have columns of.
        image_files: which files the image cells of items may name.
        keep_real_valued: also give the values behind codes, where there are such.
        skip_unusable: leave out items whose image or text cannot be used, and log which; otherwise they raise.
    """

    def __init__(
        self,
        retriever: Retriever,
        columns: Sequence[str],
        image_files: ImageFiles,
        *,
        keep_real_valued: bool,
        skip_unusable: bool,
    ):
        self.retriever, self.columns, self.image_files = retriever, columns, image_files
        self.skip_unusable = skip_unusable
        self.real_valued = keep_real_valued and retriever.model.is_hashing

    def embed(self, items: Dataset) -> dict[str, np.ndarray]:
        """Embed a chunk.

        Returns:
            Column -> rows, as the files of a gallery name them; under "usable" `(n,)` bool, which items have a row.

        Raises:
            InputError: an item cannot be used, or the items have neither images nor texts.
        """
        try:
            return {"usable": np.ones(len(items), np.bool_), **self._embeds(items)}
        except InputError as error:
            if not self.skip_unusable:
                raise InputError(f"{error} (Among the items {items['id'][0]!r} to {items['id'][-1]!r}.)") from error
            if len(items) == 1:
                logger.warning("Left out %r: %s", items["id"][0], error)
                return {"usable": np.zeros(1, np.bool_), **self._embeds_of_none()}
            middle = len(items) // 2
            halves = [items.select(range(middle)), items.select(range(middle, len(items)))]
            return joined([self.embed(half) for half in halves])

    def modalities(self) -> list[Modality]:
        """The modalities that items have; a folder of images alone has no texts.

        Raises:
            InputError: they have none.
        """
        modalities = [modality for modality, names in COLUMNS.items() if any(name in self.columns for name in names)]
        if not modalities:
            raise InputError(f"The source has no images and no texts: its columns are {', '.join(self.columns)}.")
        return modalities

    def _embeds(self, items: Dataset) -> dict[str, np.ndarray]:
        embeds = {}
        encoders: dict[Modality, Callable[..., np.ndarray]] = {
            "image": self.retriever.encode_images,
            "text": self.retriever.encode_texts,
        }
        for modality in self.modalities():
            inputs = _inputs(items, self.retriever, modality, self.image_files)
            rows = encoders[modality](inputs, batch_size=len(items), real_valued=self.real_valued)
            if self.real_valued:
                embeds[REAL_VALUED[modality]] = rows
                rows = self.retriever.model.as_embeddings(torch.from_numpy(rows))
            embeds[EMBEDS[modality]] = rows
        return embeds

    def _embeds_of_none(self) -> dict[str, np.ndarray]:
        none = {}
        for modality in self.modalities():
            none[EMBEDS[modality]] = self.retriever.encode_texts([])
            if self.real_valued:
                none[REAL_VALUED[modality]] = self.retriever.encode_texts([], real_valued=True)
        return none


def joined(chunks: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Rows of several chunks under each other."""
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _inputs(items: Dataset, retriever: Retriever, modality: Modality, image_files: ImageFiles | None = None) -> Any:
    """What the retriever embeds: a list, or an array of released features."""
    encoder = getattr(retriever.processor, f"{modality}_encoder")
    return read_column(items, column_of(items, modality, encoder.accepts_raw_input), image_files=image_files)
