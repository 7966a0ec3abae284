"""From a data set to the feature pairs that a method trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset, DatasetDict

from cmr_hub import CMRProcessor
from cmr_hub.columns import COLUMNS, Side, column_of, read_column
from cmr_hub.data.base import hash_order
from cmr_hub.encoders import create_encoder
from cmr_hub.encoders.base import Encoder
from cmr_hub.labels import label_matrix

HELD_OUT = 0.1  # share of the training split that serves for validation where a data set defines none


class Pairs(torch.utils.data.Dataset):
    """Feature pairs in memory; a batch is one indexing of each tensor, not a loop over items.

    A batch also says which `rows` it is made of, `(b,)` int64, for methods that learn something for each training item
    (a code); the others let it pass by.

    Attributes:
        tensors: `image_features` `(n, image_dim)`, `text_features` `(n, text_dim)` and, where the data set has
            classes, `labels` `(n, num_labels)` multi-hot; all float32.
    """

    def __init__(self, **tensors: torch.Tensor):
        self.tensors = tensors
        self.rows = torch.arange(len(self))

    def __len__(self) -> int:
        return len(self.tensors["image_features"])

    def __getitem__(self, index: int | slice | torch.Tensor) -> dict[str, torch.Tensor]:
        return {"rows": self.rows[index], **{name: tensor[index] for name, tensor in self.tensors.items()}}

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        return self[torch.as_tensor(indices)]


def batch_as_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The collator for [`Pairs`], whose batches come whole."""
    return batch


def with_validation(dataset: DatasetDict) -> DatasetDict:
    """The data set with a validation split: its own, or a tenth of the training split chosen by a hash of the ids."""
    if "validation" in dataset:
        return dataset
    train = dataset["train"]
    held_out = [int.from_bytes(hash_order(item)[-8:]) / 2**64 < HELD_OUT for item in train["id"][:]]
    rows = range(len(train))
    return DatasetDict(
        {
            **dataset,
            "train": train.select([row for row in rows if not held_out[row]]),
            "validation": train.select([row for row in rows if held_out[row]]),
        }
    )


class FeatureSplits:
    """The splits of a data set as feature pairs, each made when it is first asked for, and kept.

    Trainings that differ in seed or settings alone share one, so that nothing is encoded again.

    Args:
        dataset: splits "train" and "test", and "validation" where the source defines one.
        encoders: the recipe's.
        holds_out: whether a tenth of the training split serves for validation where the source defines none.

    Attributes:
        dataset: as given.
        processor: with the encoders, those that learn a vocabulary fitted on what is trained on.
    """

    def __init__(self, dataset: DatasetDict, encoders: Mapping[str, str | Mapping[str, Any]], *, holds_out: bool):
        self.dataset = dataset
        self._splits = with_validation(dataset) if holds_out else dataset
        self.processor = make_processor(encoders, self._splits["train"])
        self._pairs: dict[str, Pairs] = {}

    def __getitem__(self, split: str) -> Pairs:
        if split not in self._pairs:
            self._pairs[split] = make_pairs(self._splits[split], self.processor)
        return self._pairs[split]

    @property
    def gallery(self) -> Pairs:
        """The whole training split, what is held out of it included: what some protocols search."""
        if self._splits["train"] is self.dataset["train"]:
            return self["train"]
        if "gallery" not in self._pairs:
            self._pairs["gallery"] = make_pairs(self.dataset["train"], self.processor)
        return self._pairs["gallery"]


def make_processor(encoders: Mapping[str, str | Mapping[str, Any]], train: Dataset) -> CMRProcessor:
    """A processor with the recipe's encoders, those that learn a vocabulary fitted on the training split.

    Released features need no width in the recipe: it is read off the data set.
    """
    return CMRProcessor(*(_make_encoder(side, encoders[side], train) for side in COLUMNS))


def _make_encoder(side: Side, spec: str | Mapping[str, Any], train: Dataset) -> Encoder:
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = options.pop("name")
    if name == "precomputed":
        column = column_of(train, side, takes_raw=False)
        options.setdefault("dim", train.features[column].length)
        options.setdefault("description", f"released {column} of {train.info.description}")
    encoder = create_encoder(side, name, **options)
    if side == "text" and encoder.takes_raw:
        encoder.fit([text for texts in train[column_of(train, side, takes_raw=True)][:] for text in texts])
    return encoder


def make_pairs(dataset: Dataset, processor: CMRProcessor) -> Pairs:
    """Features of all pairs of a split; pictures go through the feature store, with progress.

    Raises:
        InputError: a column that the processor needs is missing, or an item cannot be used.
    """
    columns = {
        side: read_column(dataset, column_of(dataset, side, encoder.takes_raw))
        for side, encoder in (("image", processor.image_encoder), ("text", processor.text_encoder))
    }
    tensors = dict(processor(columns["image"], columns["text"], cache=True, show_progress=True))
    if {"label", "labels"} & set(dataset.column_names):
        tensors["labels"] = torch.from_numpy(label_matrix(dataset))
    return Pairs(**tensors)
