"""The items of a gallery: ids, texts, class labels and images, read from a data set when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import PIL.Image
from datasets import ClassLabel, Dataset
from scipy.sparse import csr_array

from cmr_hub.data.image_cells import ImageFiles, undecoded
from cmr_hub.data.labels import class_names
from cmr_hub.errors import InputError
from cmr_hub.indexes import Filter
from cmr_hub.utils.images import load_image
from cmr_hub.utils.messages import name_some


class Description(NamedTuple):
    """What a hit tells of an item."""

    id: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]


class SearchedItems(Protocol):
    """What a search needs to know of items, wherever they are stored."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def position(self, item: str) -> int:
        """The row of an item's id; InputError where there is no such item."""
        ...

    def describe(self, positions: Sequence[int]) -> list[Description]:
        """Ids, texts and names of classes of the items in some rows."""
        ...

    def image(self, position: int) -> PIL.Image.Image | None:
        """Image of the item in a row, or None where there is none."""
        ...

    def share_a_class(self, first: int, second: int) -> bool | None:
        """Whether the items in two rows have a class in common; None where it is not known."""
        ...

    def share_classes(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Which items, `(n,)` rows, have a class in common with others, `(m,)` rows: `(n, m)` booleans."""
        ...

    def sample(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Rows of up to `count` items, `(n,)` int64, in random order."""
        ...

    def filter(self, label: str | Sequence[str]) -> Filter:
        """Confine a search to the items of one or several classes."""
        ...


class Vectors(Protocol):
    """Embeddings of items by row: an array, or what reads them from elsewhere."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, rows: Any) -> np.ndarray:
        """`(d,)` of one row, `(n, d)` of several."""
        ...


class Items:
    """The rows of a data set as items with ids.

    Args:
        dataset: at least one item with an `id`, and, where the source has them, `image`, `texts`, `label` or `labels`.
        image_files: which files image cells may name; by default as [`ImageFiles.of`] says.

    Attributes:
        ids: of all items, in order.
        class_names: names of the classes; empty where there are none.

    Raises:
        InputError: there are no items, or an id is given twice.
    """

    def __init__(self, dataset: Dataset, image_files: ImageFiles | None = None):
        if len(dataset) == 0:
            raise InputError("A gallery needs at least one item, and this data set has none.")
        self.dataset = dataset
        self.ids: list[str] = dataset["id"][:]
        self._position = {item: row for row, item in enumerate(self.ids)}
        if len(self._position) < len(self.ids):
            twice = next(item for row, item in enumerate(self.ids) if self._position[item] != row)
            raise InputError(f"The ids of a gallery's items must differ, and {twice!r} is given twice.")
        self.image_files = image_files or ImageFiles.of(dataset)
        self._images = undecoded(dataset) if "image" in dataset.column_names else None
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

    def describe(self, positions: Sequence[int]) -> list[Description]:
        """Ids, texts and names of classes of the items in these rows."""
        return [
            Description(self.ids[position], texts, self.labels(position))
            for position, texts in zip(positions, self.texts(positions), strict=True)
        ]

    def image(self, position: int, *, min_side: int | None = None) -> PIL.Image.Image | None:
        """Image of the item in row `position`, in the mode that it is stored in, or None where there is none.

        Args:
            position: the row.
            min_side: a large image is scaled down, as [`load_image`] does with `reduce`.

        Raises:
            InputError: the image cannot be used, or it is a file that may not be opened.
        """
        if self._images is None:
            return None
        try:
            cell = self.image_files.check(self._images[position]["image"])
            return None if cell is None else load_image(cell, to_rgb=False, min_side=min_side, reduce=True)
        except InputError as error:
            raise InputError(f"Item {self.ids[position]!r}: {error}") from error

    def share_a_class(self, first: int, second: int) -> bool | None:
        """Whether the items in two rows have a class in common; None where items have no classes."""
        return None if self._labels is None else not self._labels[first].isdisjoint(self._labels[second])

    def sample(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Rows of up to `count` items, `(n,)` int64, in random order."""
        return random.permutation(len(self))[:count]

    def share_classes(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Which items in some rows, `(n,)`, have a class in common with others, `(m,)`: `(n, m)` booleans.

        A row of -1 is no item, and has none; neither has any where items have no classes.
        """
        if self._labels is None:
            return np.zeros((len(rows), len(others)), bool)
        one, other = (self._class_matrix(positions) for positions in (rows, others))
        return (one @ other.T).toarray() > 0

    def _class_matrix(self, rows: np.ndarray) -> csr_array:
        labels = self._labels or ()
        classes = [sorted(labels[row]) if row >= 0 else [] for row in rows.tolist()]
        ends = np.cumsum([0, *map(len, classes)])
        columns = np.array([label for own in classes for label in own], np.int64)
        return csr_array((np.ones(len(columns), np.int32), columns, ends), (len(rows), len(self.class_names)))

    def filter(self, label: str | Sequence[str]) -> Filter:
        """Confine a search to the items of one or several classes.

        Raises:
            InputError: there is no such class, or none is named.
        """
        wanted = [label] if isinstance(label, str) else list(label)
        number = {name: row for row, name in enumerate(self.class_names)}
        unknown = [name for name in wanted if name not in number]
        if self._labels is None or not wanted:
            raise InputError("The items of this gallery have no classes, or none was named: search without label.")
        if unknown:
            raise InputError(
                f"There is no class {unknown[0]!r} in this gallery: its classes are {name_some(self.class_names, 20)}."
            )
        classes = {number[name] for name in wanted}
        rows = [row for row, labels in enumerate(self._labels) if not classes.isdisjoint(labels)]
        return Filter(np.array(rows, np.int64), tuple(wanted))


def _label_ids(dataset: Dataset) -> Sequence[frozenset[int]] | None:
    """The class ids of each item, or None where the data set has no classes; of an item without one none."""
    if isinstance(dataset.features.get("label"), ClassLabel):
        rows = [[label] for label in dataset["label"][:]]
    elif isinstance(getattr(dataset.features.get("labels"), "feature", None), ClassLabel):
        rows = dataset["labels"][:]
    else:
        return None
    # -1 stands for "unknown" on the Hub.
    return [frozenset(label for label in row or () if label is not None and label >= 0) for row in rows]
