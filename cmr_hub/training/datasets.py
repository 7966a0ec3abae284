"""From a data set to the pairs that a method trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from datasets import Dataset, DatasetDict

from cmr_hub.data.base import searched_split
from cmr_hub.data.columns import COLUMNS, Modality, column_of, read_column
from cmr_hub.data.labels import has_labels, label_matrix
from cmr_hub.encoders import create_encoder
from cmr_hub.encoders.base import Encoder, TextEncoder
from cmr_hub.encoders.spec import EncoderSpec, GivenEncoder
from cmr_hub.errors import InputError
from cmr_hub.evaluation import number_texts
from cmr_hub.processing.feature_store import FeatureStore, StoredFeatures, StoredViews
from cmr_hub.processing.processing_cmr import CMRProcessor, flattened
from cmr_hub.utils.images import load_image
from cmr_hub.utils.messages import name_some
from cmr_hub.utils.processes import Process, this_process

from .splits import measured_split

Captions = Literal["set", "each"]
Rows = torch.Tensor | StoredFeatures | StoredViews  # of images or texts, indexed by the batch

SHOWN = 10  # images that cannot be used and are named
TEXT_INPUTS = ("text_features", "word_features", "input_ids", "attention_mask")


class Pairs(torch.utils.data.Dataset):
    """Pairs of an image and a text; a batch is one indexing of each tensor, not a loop over items.

    A batch also says which `rows` it is made of and which `items` they belong to, `(b,)` int64 each, for methods that
    learn something for each training item (a code) or need to know which texts are of one image. Of single captions
    it also says `matching`, `(b, b)` booleans, which text describes which image: a caption that stands word for word
    under another image too is no wrong answer for that. The others let these pass by.

    Args:
        caption_to_image: `(m,)` int64, the item of each text; by default text i is item i's.
        captions: `(m,)` int64, the same number for texts that are equal word for word; with `caption_to_image`.
        labels: `(n, num_labels)` multi-hot, where the data set has classes.
        tensors: what the model eats of each item, by its names: `image_features` `(n, image_dim)` and `text_features`
            `(n, text_dim)` for most; [`StoredFeatures`] or [`StoredViews`] may stand for a tensor. With
            `caption_to_image`, those of `TEXT_INPUTS` have a row a text.

    Attributes:
        images, texts, labels: the tensors by side; `labels` may be None.
        caption_to_image: as above.
    """

    def __init__(
        self,
        caption_to_image: torch.Tensor | None = None,
        captions: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **tensors: Rows,
    ):
        self.labels = labels
        self.texts: dict[str, Rows] = {name: rows for name, rows in tensors.items() if name in TEXT_INPUTS}
        self.images: dict[str, Rows] = {name: rows for name, rows in tensors.items() if name not in TEXT_INPUTS}
        self.caption_to_image = torch.arange(self._length()) if caption_to_image is None else caption_to_image
        self.rows = torch.arange(len(self))
        self._captions = captions
        if captions is not None:
            self._known = self._described(self.caption_to_image, captions).unique()

    @property
    def required_labels(self) -> torch.Tensor:
        """`labels`, for what cannot do without.

        Raises:
            InputError: the data set has no classes.
        """
        if self.labels is None:
            raise InputError("These pairs have no class labels, which are needed here.")
        return self.labels

    def _length(self) -> int:
        return len(next(iter((self.texts or self.images).values())))

    def __len__(self) -> int:
        return len(self.caption_to_image)

    def __getitem__(self, index: int | slice | torch.Tensor) -> dict[str, torch.Tensor]:
        items = self.caption_to_image[index]
        batch = {"rows": self.rows[index], "items": items}
        batch |= {name: rows[items] for name, rows in self.images.items()}
        batch |= {name: rows[index] for name, rows in self.texts.items()}
        return batch if self.labels is None else {**batch, "labels": self.labels[items]}

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        rows = torch.as_tensor(indices)
        return {**self[rows], **self.relation(rows)}

    def relation(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """`matching` of a batch; nothing where an item's captions are one text."""
        if self._captions is None:
            return {}
        asked = self._described(self.caption_to_image[rows, None], self._captions[rows])
        at = torch.searchsorted(self._known, asked).clamp(max=len(self._known) - 1)
        return {"matching": self._known[at] == asked}

    def _described(self, items: torch.Tensor, captions: torch.Tensor) -> torch.Tensor:
        """One number for an item and a caption."""
        assert self._captions is not None
        return items * (self._captions.max() + 1) + captions


def batch_as_is(batch: Any) -> dict[str, torch.Tensor]:
    """The collator for [`Pairs`], whose batches come whole."""
    return batch


class FeatureSplits:
    """The splits of a data set as feature pairs, each made when it is first asked for, and kept.

    Trainings that differ in seed or settings alone share one, so that nothing is encoded again.

    Args:
        dataset: as its source defines it.
        splits: of the same pairs, with what is held out; see [`with_validation`].
        encoders: the recipe's.
        captions: "set" where an item's captions are one text, "each" where every caption is a text of its own.
        augmentations: how training images are turned besides; see [`make_pairs`].

    Attributes:
        dataset, splits: as given.
        processor: with the encoders, those that learn a vocabulary fitted on what is trained on.
    """

    def __init__(
        self,
        dataset: DatasetDict,
        splits: DatasetDict,
        encoders: Mapping[Modality, GivenEncoder],
        *,
        captions: Captions = "set",
        augmentations: Sequence[str] = (),
    ):
        self.dataset, self.splits, self.captions, self.augmentations = dataset, splits, captions, augmentations
        self.processor = make_processor(encoders, self.splits["train"])
        self._pairs: dict[str, Pairs] = {}

    def __getitem__(self, split: str) -> Pairs:
        if split not in self._pairs:
            augmentations = self.augmentations if split == "train" else ()
            try:
                self._pairs[split] = make_pairs(self.splits[split], self.processor, self.captions, augmentations)
            except InputError as error:
                if self.processor.image_encoder.accepts_raw_input:
                    refuse_unusable_images(self.splits, error)
                raise
        return self._pairs[split]

    def extract(self, process: Process) -> None:
        """Store the features of all images and texts, each process those of its share; all must call this."""
        processor = self.processor
        if processor.text_encoder.cacheable:
            texts = self._columns("text", processor.text_encoder)
            processor.text_store.extract([text for split in texts.values() for text in flattened(split)[0]], process)
        if processor.image_encoder.cacheable:
            images = self._columns("image", processor.image_encoder)
            processor.store.extract([image for split in images.values() for image in split], process)
            for augmentation in self.augmentations:
                FeatureStore(processor.image_encoder, augmentation=augmentation).extract(images["train"], process)

    def _columns(self, modality: Modality, encoder: Encoder) -> dict[str, Any]:
        """Split -> what the encoder is given of it."""
        return {
            name: read_column(split, column_of(split, modality, encoder.accepts_raw_input))
            for name, split in self.dataset.items()
        }

    @property
    def measured_split(self) -> str:
        """The split that trainings are measured on."""
        return measured_split(self.splits)

    @property
    def gallery_dataset(self) -> Dataset:
        """What some protocols search: the database, or the training split with what is held out for validation."""
        return searched_split(self.dataset if self.measured_split in self.dataset else self.splits)

    @property
    def gallery(self) -> Pairs:
        """[`gallery_dataset`] as pairs."""
        if self.splits["train"] is self.gallery_dataset and not self.augmentations:
            return self["train"]
        if "gallery" not in self._pairs:
            self._pairs["gallery"] = make_pairs(self.gallery_dataset, self.processor, self.captions)
        return self._pairs["gallery"]


def refuse_unusable_images(splits: Mapping[str, Dataset], reason: InputError) -> None:
    """Name all images of a data set that cannot be used, where one of them was found, so that none is found later.

    Args:
        splits: with a column of images.
        reason: the error of the first, which another thing may have caused.

    Raises:
        InputError: there are such images.
    """
    unusable, total = [], 0
    for split in splits.values():
        cells = read_column(split, column_of(split, "image", accepts_raw_input=True))
        total += len(cells)
        for item, cell in zip(split["id"][:], cells, strict=True):
            try:
                load_image(cell, min_side=1, reduce=True)
            except InputError as error:
                path = "" if cell is None else cell["path"]
                unusable.append(f"{item} ({str(error).removeprefix(f'{path} ').rstrip('.')})")
    if len(unusable) > 1:
        raise InputError(
            f"{len(unusable)} of {total} images cannot be used: {name_some(unusable, SHOWN)}. Replace them, or take "
            "their rows out of the table."
        ) from reason


def make_processor(encoders: Mapping[Modality, GivenEncoder], train: Dataset) -> CMRProcessor:
    """A processor with the recipe's encoders, those that learn from texts fitted on the training split.

    Released features need no width in the recipe: it is read off the data set.

    Raises:
        InputError: a column that an encoder needs is missing, or one learns from classes and the data set has none.
    """
    return CMRProcessor(*(make_encoder(modality, encoders[modality], train) for modality in COLUMNS))


def make_encoder(modality: Modality, spec: GivenEncoder, train: Dataset) -> Encoder:
    """One encoder as a recipe describes it; see [`make_processor`]."""
    described = EncoderSpec.parse(spec)
    name, options = described.name, dict(described.options)
    if name == "precomputed":
        column = column_of(train, modality, accepts_raw_input=False)
        options.setdefault("dim", train.features[column].length)
        options.setdefault("description", f"released {column} of {train.info.description}")
    encoder = create_encoder(modality, name, **options)
    if isinstance(encoder, TextEncoder) and encoder.accepts_raw_input:
        texts, lengths = flattened(read_column(train, column_of(train, modality, accepts_raw_input=True)))
        if encoder.learns_labels:
            cast(Any, encoder).fit(texts, _labels_of_texts(encoder, train, lengths))
        else:
            encoder.fit(texts)
    return encoder


def _labels_of_texts(encoder: Encoder, train: Dataset, lengths: Sequence[int]) -> np.ndarray:
    """The classes of each item for every text that it has, `(texts, classes)`."""
    try:
        return label_matrix(train).repeat(lengths, axis=0)
    except InputError as error:
        raise InputError(f"The text encoder {encoder.name!r} learns from classes. {error}") from error


def make_pairs(
    dataset: Dataset, processor: CMRProcessor, captions: Captions = "set", augmentations: Sequence[str] = ()
) -> Pairs:
    """What the model eats of all pairs of a split; what is slow goes through the feature store, with progress.

    Args:
        dataset: the split.
        processor: the encoders.
        captions: "each" makes as many pairs of an item as it has texts.
        augmentations: a batch has each image as it is or in one of these turns, by chance; see
            [`~cmr_hub.utils.images.turned`].

    Raises:
        InputError: a column that the processor needs is missing, an item cannot be used, or captions are to be each a
            text of its own (or cannot be one text) in a data set or for an encoder where that does not go.
    """
    image_encoder, show_progress = processor.image_encoder, this_process().is_main
    images = read_column(dataset, column_of(dataset, "image", image_encoder.accepts_raw_input))
    tensors = texts_and_labels(dataset, processor, captions)
    if augmentations:
        if not image_encoder.cacheable:
            raise InputError(f"The image encoder {image_encoder.name!r} keeps no features, so images are not turned.")
        stores = [
            processor.store,
            *(FeatureStore(image_encoder, augmentation=augmentation) for augmentation in augmentations),
        ]
        views = StoredViews([store.stored(images, show_progress=show_progress) for store in stores])
        tensors[image_encoder.input_name] = views
    elif image_encoder.mapped:
        tensors[image_encoder.input_name] = processor.store.stored(images, show_progress=show_progress)
    else:
        tensors |= processor(images, cache=True, show_progress=show_progress)
    return Pairs(**tensors)


def texts_and_labels(dataset: Dataset, processor: CMRProcessor, captions: Captions) -> dict[str, Any]:
    """What [`Pairs`] are made of, but for the images.

    Raises:
        InputError: as for [`make_pairs`].
    """
    text_encoder = processor.text_encoder
    texts = read_column(dataset, column_of(dataset, "text", text_encoder.accepts_raw_input))
    tensors: dict[str, Any] = {}
    if captions == "each":
        if not text_encoder.accepts_raw_input:
            raise InputError("Released text features are one vector an item: there are no captions to take each.")
        texts, lengths = flattened(texts)
        tensors["caption_to_image"] = torch.arange(len(dataset)).repeat_interleave(torch.tensor(lengths))
        tensors["captions"] = torch.from_numpy(number_texts(texts))
    if text_encoder.mapped:
        processor.check_single_texts(texts)
        tensors[text_encoder.input_name] = processor.text_store.stored(texts, show_progress=this_process().is_main)
    else:
        tensors |= processor(text=texts, cache=True, show_progress=this_process().is_main)
    if has_labels(dataset.column_names):
        tensors["labels"] = torch.from_numpy(label_matrix(dataset))
    return tensors
