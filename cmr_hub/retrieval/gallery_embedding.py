"""Embedding the items of a data set: at once, or chunk by chunk without those that cannot be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset

from cmr_hub.data.columns import COLUMNS, Modality, column_of, read_column
from cmr_hub.data.image_cells import ImageFiles, undecoded
from cmr_hub.errors import ImageRootError, InputError
from cmr_hub.utils.images import load_image

from .gallery_files import EMBEDS, REAL_VALUED
from .retriever import Retriever

ONE_OF_ONE = re.compile(r"^(image|text) 1 of 1: (it )?")  # where there is one alone


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
    embeds, real_valued = {}, {}
    for modality, column in columns_of(dataset, retriever).items():
        encode, inputs = _encode(retriever, modality), read_column(dataset, column)
        embeds[modality] = encode(inputs, cache=cache, show_progress=show_progress)
        if keep_real_valued and retriever.model.is_hashing:
            real_valued[modality] = encode(inputs, cache=cache, real_valued=True)
    return embeds, real_valued


@dataclass(frozen=True)
class Embedded:
    """The embeddings of some items.

    Attributes:
        embeds: column, as the files of a gallery name it -> rows of the items that can be used.
        unusable: number of an item that cannot be used -> why.
    """

    embeds: Mapping[str, np.ndarray]
    unusable: Mapping[int, str]


class ChunkEmbedder:
    """Embeds items chunk by chunk.

    Args:
        retriever: the checkpoint.
        columns: of the items; the modalities are those that they have columns of.
        image_files: which files the image cells of items may name.
        keep_real_valued: also give the values behind codes, where there are such.
        strict: raise where an item cannot be used; otherwise it is left out.

    Raises:
        InputError: the items have neither images nor texts, or not as the checkpoint takes them.
    """

    def __init__(
        self,
        retriever: Retriever,
        columns: Sequence[str],
        image_files: ImageFiles,
        *,
        keep_real_valued: bool,
        strict: bool,
    ):
        self.retriever, self.image_files, self.strict = retriever, image_files, strict
        self.real_valued = keep_real_valued and retriever.model.is_hashing
        self.columns = columns_of(Dataset.from_dict({column: [] for column in columns}), retriever)

    def embed(self, items: Dataset) -> Embedded:
        """Embed a chunk.

        Raises:
            InputError: an item cannot be used, where that is not allowed.
            ImageRootError: items name files, and the caller no folder.
        """
        try:
            return Embedded(self._embeds(items), {})
        except ImageRootError:
            raise
        except InputError as error:
            if self.strict:
                raise InputError(f"{error} (Among the items {items['id'][0]!r} to {items['id'][-1]!r}.)") from error
            unusable = self._unusable_images(items) or ({0: ONE_OF_ONE.sub("", str(error))} if len(items) == 1 else {})
            if unusable:
                rest = [row for row in range(len(items)) if row not in unusable]
                embedded = self.embed(items.select(rest)) if rest else Embedded(self._embeds_of_none(), {})
                others = {rest[row]: reason for row, reason in embedded.unusable.items()}
                return Embedded(embedded.embeds, {**unusable, **others})
            middle = len(items) // 2
            first, second = (self.embed(items.select(rows)) for rows in (range(middle), range(middle, len(items))))
            others = {middle + row: reason for row, reason in second.unusable.items()}
            return Embedded(joined([first.embeds, second.embeds]), {**first.unusable, **others})

    def _unusable_images(self, items: Dataset) -> dict[int, str]:
        """The items whose images cannot be opened, and why: found by looking at each."""
        if self.columns.get("image") != "image":
            return {}
        unusable = {}
        for row, cell in enumerate(undecoded(items)["image"]):
            try:
                load_image(self.image_files.check(cell), min_side=1, reduce=True)  # type: ignore[arg-type]
            except InputError as error:
                path = "" if cell is None else cell["path"]
                unusable[row] = str(error).removeprefix(f"{path} ")  # which the item's id says
        return unusable

    def _embeds(self, items: Dataset) -> dict[str, np.ndarray]:
        embeds = {}
        for modality, column in self.columns.items():
            inputs = read_column(items, column, image_files=self.image_files)
            rows = _encode(self.retriever, modality)(inputs, batch_size=len(items), real_valued=self.real_valued)
            if self.real_valued:
                embeds[REAL_VALUED[modality]] = rows
                rows = self.retriever.model.as_embeddings(torch.from_numpy(rows))
            embeds[EMBEDS[modality]] = rows
        return embeds

    def _embeds_of_none(self) -> dict[str, np.ndarray]:
        none = {}
        for modality in self.columns:
            none[EMBEDS[modality]] = self.retriever.encode_texts([])
            if self.real_valued:
                none[REAL_VALUED[modality]] = self.retriever.encode_texts([], real_valued=True)
        return none


def _encode(retriever: Retriever, modality: Modality) -> Callable[..., np.ndarray]:
    return {"image": retriever.encode_images, "text": retriever.encode_texts}[modality]


def joined(chunks: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Rows of several chunks under each other."""
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def columns_of(items: Dataset, retriever: Retriever) -> dict[Modality, str]:
    """Modality -> the column that the retriever embeds, of the modalities that items have columns of.

    Raises:
        InputError: they have neither images nor texts, or not as the checkpoint takes them.
    """
    here = [modality for modality, names in COLUMNS.items() if not set(names).isdisjoint(items.column_names)]
    if not here:
        columns = ", ".join(items.column_names) or "none"
        raise InputError(f"There are no images and no texts to embed; the columns are: {columns}.")
    encoders = {"image": retriever.processor.image_encoder, "text": retriever.processor.text_encoder}
    return {modality: column_of(items, modality, encoders[modality].accepts_raw_input) for modality in here}
