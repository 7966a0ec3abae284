"""The items of a gallery: ids, texts, class labels and images, read from a data set when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import PIL.Image
from datasets import ClassLabel, Dataset

from cmr_hub.data.labels import class_names
from cmr_hub.errors import InputError
from cmr_hub.indexes import Filter


class Items:
    """The rows of a data set as items with ids.

    Args:
        dataset: at least one item with an `id`, and, where the source has them, `image`, `texts`, `label` or `labels`.

    Attributes:
        ids: of all items, in order.
        class_names: names of the classes; empty where there are none.

    Raises:
        InputError: there are no items, or an id is given twice.
    """

    def __init__(self, dataset: Dataset):
        if len(dataset) == 0:
            raise InputError("A gallery needs at least one item, and this data set has none.")
        self.dataset = dataset
        self.ids: list[str] = dataset["id"][:]
        self._position = {item: row for row, item in enumerate(self.ids)}
        if len(self._position) < len(self.ids):
            raise InputError("The ids of a gallery's items must differ, and some are given twice.")
        self._texts = dataset.select_columns("texts") if "texts" in dataset.column_names else None
        self._labels = _label_ids(dataset)
        self.class_names = class_names(dataset) if self._labels is not None else []

    def __len__(self) -> int:
        return len(self.ids)

    def position(self, item: str) -> int:
        """The row of an item's id.

        Raises:
            InputError: there is no such item.
        """
        if item not in self._position:
            raise InputError(f"There is no item {item!r} in this gallery; its ids look like {self.ids[0]!r}.")
        return self._position[item]

    def labels(self, position: int) -> tuple[str, ...]:
        """Names of the classes of the item in row `position`."""
        return () if self._labels is None else tuple(self.class_names[i] for i in sorted(self._labels[position]))

    def texts(self, positions: Sequence[int]) -> list[tuple[str, ...]]:
        """Texts of the items in these rows."""
        if self._texts is None or len(positions) == 0:
            return [()] * len(positions)
        return [tuple(texts) for texts in self._texts[positions]["texts"]]

    def image(self, position: int) -> PIL.Image.Image | None:
        """Image of the item in row `position`, or None where the data set has none."""
        return self.dataset[position]["image"] if "image" in self.dataset.column_names else None

    def share_a_class(self, first: int, second: int) -> bool | None:
        """Whether the items in two rows have a class in common; None where items have no classes."""
        return None if self._labels is None else not self._labels[first].isdisjoint(self._labels[second])

    def filter(self, label: str | Sequence[str]) -> Filter:
        """Confine a search to the items of one or several classes.

        Raises:
            InputError: there is no such class, or none is named.
        """
        wanted = [label] if isinstance(label, str) else list(label)
        unknown = [name for name in wanted if name not in self.class_names]
        if self._labels is None or not wanted:
            raise InputError("The items of this gallery have no classes, or none was named: search without label.")
        if unknown:
            raise InputError(
                f"There is no class {unknown[0]!r} in this gallery: its classes are {', '.join(self.class_names)}."
            )
        classes = {self.class_names.index(name) for name in wanted}
        rows = [row for row, labels in enumerate(self._labels) if not classes.isdisjoint(labels)]
        return Filter(np.array(rows, np.int64), tuple(wanted))


def _label_ids(dataset: Dataset) -> Sequence[frozenset[int]] | None:
    """The class ids of each item, or None where the data set has no classes."""
    if isinstance(dataset.features.get("label"), ClassLabel):
        return [frozenset([label]) for label in dataset["label"][:]]
    if isinstance(getattr(dataset.features.get("labels"), "feature", None), ClassLabel):
        return [frozenset(labels) for labels in dataset["labels"][:]]
    return None
