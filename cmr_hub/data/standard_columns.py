"""Data sets from elsewhere with the columns of the hub: `id`, `image`, `texts`, `label` or `labels`."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Dataset, Image, LargeList, List, Value

from cmr_hub.errors import InputError

from .base import TEXTS
from .cells import LABEL_SEPARATOR, class_name, is_blank, listed, natural_order, to_text, unify_numbers
from .labels import LABEL_COLUMNS
from .table_columns import text_columns

logger = logging.getLogger(__name__)

NUMBERS = ("int", "uint", "float")  # of any width


def standardize(dataset: Dataset) -> Dataset:
    """Give a data set the columns of the hub, where it has others of the same content; nothing is decoded or opened.

    | the data set has | it becomes |
    |---|---|
    | no `id`, or numbers | `id`: the number of the row, or the number, as a string |
    | one column of images by another name; `image` with paths, or records of `path` and `bytes` | `image` |
    | `text`, `caption`, `captions`, `caption_0` …, or `texts` that is no list | `texts`: lists without blanks |
    | none of these, but `sentence`, `description` or `title` | `texts` |
    | a text, or `labels`, written as a list (`"['x', 'y']"`), `labels` with ";" between them | several |
    | `label` or `labels` with strings or whole numbers | class labels |
    | one class in `labels`, or lists of them in `label` | `label`, or `labels` |

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
    several = listed(cell) if isinstance(cell, str) else cell
    return [text.strip() for text in (several if isinstance(several, list) else [cell]) if not is_blank(text)]


def _with_classes(dataset: Dataset) -> Dataset:
    for column in LABEL_COLUMNS:
        kind = dataset.features.get(column)
        if kind is None or not _is_of(_item(kind), "string", "bool", *NUMBERS):
            continue
        cells = dataset.with_format(None)[column][:]
        if column == "labels" and _is_of(kind, "string"):
            cells = _divided(cells)
        several = _is_list(kind) or any(isinstance(cell, list) for cell in cells)
        rows = [_names(cell) for cell in cells]
        unified = unify_numbers(name for row in rows for name in row)
        if _is_of(_item(kind), "float") and not all(map(str.isdecimal, unified.values())):
            continue  # values, and no classes
        classes = sorted(set(unified.values()), key=natural_order)
        number = {name: row for row, name in enumerate(classes)}
        ids = [[number[unified[name]] for name in row] for row in rows]
        label = ClassLabel(names=classes)
        cells = ids if several else [row[0] if row else None for row in ids]
        dataset = _replaced(dataset, [column], column, cells, List(label) if several else label)
    return _by_number_of_classes(dataset)


def _divided(cells: Sequence[str | None]) -> list[str | list[str] | None]:
    """Cells of `labels` that hold one class each, or several as a list or with ";" between them."""
    divided: list[str | list[str] | None] = []
    for cell in cells:
        several = None if cell is None else listed(cell, numbers=True)
        if several is None and cell is not None and LABEL_SEPARATOR in cell:
            several = cell.split(LABEL_SEPARATOR)
        divided.append(cell if several is None else several)
    odd = [cell for cell in divided if isinstance(cell, str) and any(sign in cell for sign in ",|")]
    if odd and not any(isinstance(cell, list) for cell in divided):
        logger.warning(
            "The labels %r are taken for one class. If they are several, give them as a list, or put %r between them.",
            odd[0],
            LABEL_SEPARATOR,
        )
    return divided


def _by_number_of_classes(dataset: Dataset) -> Dataset:
    """One class per item in the column `label`, several in `labels`, as far as the other column is free."""
    for column, other in (LABEL_COLUMNS, LABEL_COLUMNS[::-1]):
        kind = dataset.features.get(column)
        is_of_other = isinstance(_item(kind), ClassLabel) and _is_list(kind) == (other == "labels")
        if is_of_other and other not in dataset.column_names:
            return dataset.rename_column(column, other)
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
