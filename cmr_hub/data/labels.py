"""Class labels of a data set as the multi-hot matrix that losses and metrics work with."""

from __future__ import annotations

from collections import Counter
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


def class_counts(dataset: Dataset) -> Counter[str]:
    """Name of a class -> how many items of a data set it has; without classes that have none.

    Raises:
        InputError: the data set has no classes.
    """
    column, feature = _class_feature(dataset)
    rows = (row if isinstance(row, list) else [row] for row in dataset[column][:])
    numbers = Counter(label for row in rows for label in set(row) if label is not None and label >= 0)
    return Counter({feature.names[label]: count for label, count in numbers.items()})


def describe_few_classes(dataset: Dataset) -> str:
    """Say that a measure by class says little of a data set; "" where it does not.

    Args:
        dataset: items with class labels.

    Raises:
        InputError: the data set has no classes.

    Example:
    ```python
    >>> from datasets import ClassLabel, Dataset, Features
    >>> features = Features({"label": ClassLabel(names=["cat", "dog"])})
    >>> describe_few_classes(Dataset.from_dict({"label": [0, 0]}, features=features))
    "All 2 items are of the class 'cat': by class any order of them is right."
    >>> describe_few_classes(Dataset.from_dict({"label": [0, 1]}, features=features))
    'No two of the 2 items share a class: by class an item finds itself alone.'
    ```
    """
    counts, items = class_counts(dataset), len(dataset)
    most = max(counts.values(), default=0)
    if items > 1 and most == items:
        name = counts.most_common(1)[0][0]
        return f"All {items} items are of the class {name!r}: by class any order of them is right."
    if items > 1 and most == 1:
        return f"No two of the {items} items share a class: by class an item finds itself alone."
    return ""


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
