"""Data sets from elsewhere with the columns of the hub: `id`, `image`, `texts`, `label` or `labels`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Dataset, Image, LargeList, List, Value

from cmr_hub.errors import InputError

from .base import TEXTS
from .cells import class_name, is_blank, natural_order, to_text, unify_numbers
from .labels import LABEL_COLUMNS
from .table_columns import text_columns

NUMBERS = ("int", "uint", "float")  # of any width


def standardize(dataset: Dataset) -> Dataset:
    """Give a data set the columns of the hub, where it has others of the same content; nothing is decoded or opened.

    | the data set has | it becomes |
    |---|---|
    | no `id`, or numbers | `id`: the number of the row, or the number, as a string |
    | one column of images by another name; `image` with paths, or records of `path` and `bytes` | `image` |
    | `text`, `caption`, `captions`, `caption_0` …, or `texts` that is no list | `texts`: lists without blanks |
    | none of these, but `sentence`, `description` or `title` | `texts` |
    | `label` or `labels` with strings or whole numbers | class labels |

    Args:
        dataset: any.

    Raises:
        InputError: columns of these names hold something else.

    Example:
    ```python
    >>> standard = standardize(Dataset.from_dict({"caption": ["a cat", "a dog"], "label": ["cat", "dog"]}))
    >>> standard.column_names, standard[1]
    (['texts', 'id', 'label'], {'texts': ['a dog'], 'id': '1', 'label': 1})
    ```
    """
    return _with_classes(standardize_piece(dataset))


def standardize_piece(dataset: Dataset, first: int = 0) -> Dataset:
    """The same of a piece of a larger data set, in which not all classes may occur: labels stay as they are.

    Args:
        dataset: the piece.
        first: number of its first row in the whole.

    Raises:
        InputError: as for [`standardize`].
    """
    return _with_ids(_with_texts(_with_images(dataset)), first)


def _with_images(dataset: Dataset) -> Dataset:
    if "image" not in dataset.column_names:
        images = [name for name, kind in dataset.features.items() if isinstance(kind, Image)]
        return dataset.rename_column(images[0], "image") if len(images) == 1 else dataset
    kind = dataset.features["image"]
    is_record = isinstance(kind, dict) and {"bytes", "path"} <= set(kind)
    if not (is_record or _is_of(kind, "string")):
        return dataset
    try:
        return dataset.cast_column("image", Image(decode=False))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"The column image holds no images: {error}.") from error


def _with_texts(dataset: Dataset) -> Dataset:
    names = ["texts"] if "texts" in dataset.column_names else _text_columns(dataset)
    if not names or (names == ["texts"] and _is_list(dataset.features["texts"])):
        return dataset
    rows = zip(*(dataset.with_format(None)[name][:] for name in names), strict=True)
    texts = [[text for cell in cells for text in _texts_of(cell)] for cells in rows]
    return _replaced(dataset, names, "texts", texts, TEXTS)


def _text_columns(dataset: Dataset) -> list[str]:
    """The columns that hold texts by their names and types."""
    names = {name.lower(): name for name, kind in dataset.features.items() if _is_of(_item(kind), "string")}
    return [names[name] for name in text_columns(names)]


def _texts_of(cell: Any) -> list[str]:
    return [text.strip() for text in (cell if isinstance(cell, list) else [cell]) if not is_blank(text)]


def _with_classes(dataset: Dataset) -> Dataset:
    for column in LABEL_COLUMNS:
        kind = dataset.features.get(column)
        if kind is None or not _is_of(_item(kind), "string", "bool", *NUMBERS):
            continue
        several = _is_list(kind)
        rows = [_names(cell) for cell in dataset.with_format(None)[column][:]]
        unified = unify_numbers(name for row in rows for name in row)
        if _is_of(_item(kind), "float") and not all(map(str.isdecimal, unified.values())):
            continue  # values, and no classes
        classes = sorted(set(unified.values()), key=natural_order)
        number = {name: row for row, name in enumerate(classes)}
        ids = [[number[unified[name]] for name in row] for row in rows]
        label = ClassLabel(names=classes)
        cells = ids if several else [row[0] if row else None for row in ids]
        dataset = _replaced(dataset, [column], column, cells, List(label) if several else label)
    return dataset


def _names(cell: Any) -> list[str]:
    return [class_name(to_text(name)) for name in (cell if isinstance(cell, list) else [cell]) if not is_blank(name)]


def _with_ids(dataset: Dataset, first: int) -> Dataset:
    if "id" not in dataset.column_names:
        return dataset.add_column("id", [str(row) for row in range(first, first + len(dataset))])
    if _is_of(dataset.features["id"], "string"):
        return dataset
    if not _is_of(dataset.features["id"], *NUMBERS):
        raise InputError(f"The column id holds no strings and no numbers, but {dataset.features['id']}.")
    ids = dataset.with_format(None)["id"][:]
    if any(map(is_blank, ids)):
        raise InputError(f"Row {[is_blank(one) for one in ids].index(True)} has no id: give each one, or none.")
    return _replaced(dataset, ["id"], "id", [to_text(one) for one in ids], Value("string"))


def _replaced(dataset: Dataset, old: Sequence[str], new: str, cells: Sequence[Any], kind: Any) -> Dataset:
    """Another column instead of some; the others are not copied, and a data set may have these alone."""
    added = dataset.add_column("cmr_hub:new", cells, feature=kind)
    return added.remove_columns(list(old)).rename_column("cmr_hub:new", new)


def _is_list(kind: Any) -> bool:
    return isinstance(kind, List | LargeList)


def _item(kind: Any) -> Any:
    return kind.feature if _is_list(kind) else kind


def _is_of(kind: Any, *dtypes: str) -> bool:
    """Whether values are of one of some types, of any width."""
    return isinstance(kind, Value) and re.sub(r"^large_|\d+$", "", kind.dtype) in dtypes
