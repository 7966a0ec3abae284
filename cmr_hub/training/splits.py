"""Which pairs a training learns from, chooses its epoch on, and is measured on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from datasets import DatasetDict

from cmr_hub.data import DATASETS
from cmr_hub.data.base import drawn_rows, hash_order, searched_split
from cmr_hub.data.labels import describe_few_classes
from cmr_hub.errors import InputError
from cmr_hub.evaluation import Protocol, fitted

logger = logging.getLogger(__name__)

HELD_OUT = 0.1  # share of the training split that serves for validation where a data set defines none
MIN_HELD_OUT = 5  # pairs, where a share of a small data set is less
MIN_TO_HOLD_OUT = 20  # pairs; of fewer, too few would be left to learn from
MIN_VALIDATION = 2  # pairs; one alone is always found
NOT_TEST = {
    "validation": "There is no test split: the results are those of the validation split.",
    "train": "There is no test and no validation split: the results are those of the pairs that are learned from, "
    "and say little of others.",
}


def with_validation(dataset: DatasetDict, held_out: float = HELD_OUT) -> DatasetDict:
    """A data set with a validation split: its own, or a share of the training split.

    Which pairs are held out depends on a hash of their ids.

    Args:
        dataset: has a split "train".
        held_out: the share; 0 holds nothing out.

    Raises:
        InputError: there are too few pairs to choose an epoch on.
    """
    train = dataset["train"]
    advice = "; or keep the last epoch (--hold-out 0), or take a method without epochs, such as cca."
    if "validation" in dataset:
        if len(dataset["validation"]) < MIN_VALIDATION:
            raise InputError(
                f"The validation split has {len(dataset['validation'])} pair, which any model finds: no epoch can be "
                f"chosen on it. Put more pairs into it{advice}"
            )
        return dataset
    if not held_out:
        return dataset
    if len(train) < MIN_TO_HOLD_OUT:
        raise InputError(
            f"{len(train)} training pairs are too few to hold some out, on which the epoch is chosen: "
            f"{MIN_TO_HOLD_OUT} are needed. Give some pairs the split validation{advice}"
        )
    shares = [int.from_bytes(hash_order(item)[-8:]) / 2**64 for item in train["id"][:]]
    limit = max(held_out, sorted(shares)[MIN_HELD_OUT])
    rows = range(len(train))
    return DatasetDict(
        {
            **dataset,
            "train": train.select([row for row in rows if shares[row] >= limit]),
            "validation": train.select([row for row in rows if shares[row] < limit]),
        }
    )


def with_train_rows(dataset: DatasetDict, rows: int | None, dataset_name: str) -> DatasetDict:
    """A data set whose split "train" is what a recipe learns from; see [`~cmr_hub.data.base.drawn_rows`].

    Args:
        dataset: as its source defines it, or with fewer rows already; see [`~cmr_hub.data.load_dataset`].
        rows: of the recipe, at most; None: all.
        dataset_name: as `cmr_hub.data` knows it.
    """
    if rows is None:
        return dataset
    is_drawn = dataset_name in DATASETS and DATASETS[dataset_name].info.is_drawn
    return DatasetDict({**dataset, "train": drawn_rows(dataset["train"], rows, is_drawn)})


def measured_split(dataset: DatasetDict) -> str:
    """The split that a training on a data set is measured on: "test", or what there is instead."""
    return next(split for split in ("test", "validation", "train") if split in dataset)


def warn_of_measured_split(dataset: DatasetDict, name: str) -> None:
    """Say where results are not those of a test split."""
    if (split := measured_split(dataset)) != "test":
        logger.warning("%s: %s", name, NOT_TEST[split])


def fit_to_splits(protocols: Sequence[Protocol], dataset: DatasetDict) -> list[Protocol]:
    """The protocols of a training, with the ranks that the galleries have which they search.

    Args:
        protocols: of its results; the first also chooses the epoch.
        dataset: with what is held out.

    Raises:
        InputError: one chooses the epoch on the test split, and there is none, or no epoch is chosen.
    """
    of_test = [protocol.name for protocol in protocols if protocol.selection_split == "test"]
    if of_test and "test" not in dataset:
        raise InputError(f"Protocol {of_test[0]!r} chooses the epoch on the test split, and there is none.")
    if of_test and "validation" not in dataset and protocols[0].selection_split != "test":
        raise InputError(f"Protocol {of_test[0]!r} chooses an epoch, and without validation pairs none is chosen.")
    measured = dataset[measured_split(dataset)]
    if any(protocol.relevance == "class" for protocol in protocols) and (note := describe_few_classes(measured)):
        logger.warning("%s", note)
    sizes = {"test": len(measured), "train": len(searched_split(dataset))}
    return [fitted(protocol, sizes[protocol.gallery]) for protocol in protocols]
