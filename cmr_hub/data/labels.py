"""Class labels of a data set as the multi-hot matrix that losses and metrics work with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from datasets import ClassLabel, Dataset

from cmr_hub.errors import InputError

LABEL_COLUMNS = ("label", "labels")


def has_labels(columns: Iterable[str]) -> bool:
    """Whether a data set with these columns has classes."""
    return not set(LABEL_COLUMNS).isdisjoint(columns)


def is_labelled(dataset: Mapping[str, Dataset]) -> bool:
    """Whether a data set, split by split, has classes."""
    return any(has_labels(split.column_names) for split in dataset.values())


def class_names(dataset: Dataset) -> list[str]:
    """Names of the classes of a data set's `label` (ClassLabel) or `labels` (list of ClassLabel) column, in order.

    Raises:
        InputError: the data set has neither column, or its classes are not named.
    """
    return _class_feature(dataset)[1].names


def label_matrix(dataset: Dataset) -> np.ndarray:
    """Which item is of which classes.

    Args:
        dataset: `n` items with a `label` (ClassLabel) or a `labels` (list of ClassLabel) column.

    Returns:
        `(n, classes)` float32 array of zeros and ones.

    Raises:
        InputError: no such column, or a row without a label (`None`, or -1, which stands for "unknown").

    Example:
    ```python
    >>> from datasets import ClassLabel, Dataset, Features
    >>> features = Features({"label": ClassLabel(names=["cat", "cow", "dog"])})
    >>> label_matrix(Dataset.from_dict({"label": [2, 0]}, features=features)).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    ```
    """
    column, feature = _class_feature(dataset)
    rows = dataset[column][:]
    matrix = np.zeros((len(rows), feature.num_classes), np.float32)
    for position, row in enumerate(rows):
        labels = row if isinstance(row, list) else [row]
        if any(label is None or label < 0 for label in labels):
            raise InputError(f"Item {position} of the data set has no class in {column!r}; leave it out or label it.")
        matrix[position, labels] = 1
    return matrix


def _class_feature(dataset: Dataset) -> tuple[str, ClassLabel]:
    features = dataset.features
    for column, feature in (
        ("label", features.get("label")),
        ("labels", getattr(features.get("labels"), "feature", None)),
    ):
        if isinstance(feature, ClassLabel):
            return column, feature
    raise InputError(
        "The data set has no classes: it needs a `label` column of ClassLabel or a `labels` column of lists of "
        f"ClassLabel. Its columns: {', '.join(dataset.column_names) or 'none'}."
    )
