"""Pairs of images and texts listed in one metadata table next to a folder of images."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
from tqdm.auto import tqdm

from cmr_hub.errors import DatasetError
from cmr_hub.utils.messages import name_some

from .base import TEXTS, DatasetInfo, build, label_features
from .cells import (
    LABEL_SEPARATOR,
    class_name,
    is_blank,
    is_unicode,
    listed,
    natural_order,
    to_text,
    unify_numbers,
)
from .file_names import FileNames
from .image_folders import is_litter
from .labels import LABEL_COLUMNS
from .paths import leads_out, unsafe_reason
from .table_columns import IMAGE_COLUMNS, image_column, text_columns
from .table_files import Row, read_rows

logger = logging.getLogger(__name__)

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
OTHER_SEPARATORS = {",": "a comma", "|": "a bar"}


@dataclass
class Pair:
    """One image with all that the table says about it.

    Attributes:
        where: the table's row that named the image first, for messages.
        name: the image's path as the table gives it.
        path: the image's file.
        texts: distinct texts that are not blank.
        labels: class names; empty where the table gives none.
        split: "train", "validation" or "test"; None where the table has no such column.
        id: from the column `id`, else `name`.
    """

    where: str
    name: str
    path: Path
    texts: list[str]
    labels: tuple[str, ...]
    split: str | None
    id: str


@dataclass(frozen=True)
class Columns:
    """Which column of a table plays which part."""

    image: str
    texts: tuple[str, ...]
    label: str | None
    split: str | None
    id: str | None


def read_pairs(
    table: Path, images: Path, label_separator: str | None = None, encoding: str | None = None
) -> tuple[list[Pair], Columns]:
    """Read a table; rows of the same image become one pair with several texts.

    Args:
        table: a file with a header and a row per line, or with objects; see [`read_rows`].
        images: the folder that the table's image names start from. No name may lead out of it.
        label_separator: between the class names in a cell of the column `labels`. By default ";", and a comma or bar
            where no cell has a ";" is refused.
        encoding: of the table's text; found by default.

    Raises:
        DatasetError: the table cannot be read, lacks a column, names files that are not there or lie outside of
            `images`, has rows without text, or rows of one image that contradict each other.
    """
    return to_pairs(table, read_rows(table, encoding), images, label_separator)


def to_pairs(
    table: Path, rows: Iterable[Row], images: Path, label_separator: str | None = None
) -> tuple[list[Pair], Columns]:
    """The same of rows that another reader found in `table`."""
    rows = list(rows)
    if not rows:
        raise DatasetError(f"{table} lists no images: there is no row in it.")
    columns = _find_columns(table, dict.fromkeys(name for _, row in rows for name in row))
    if label_separator is None and columns.label == "labels":
        _refuse_other_separators(rows)
    names = FileNames(images.resolve())
    separator = label_separator or LABEL_SEPARATOR
    read = [
        _read_pair(where, row, columns, names, separator)
        for where, row in tqdm(rows, desc=f"Reading {table.name}", unit=" rows", delay=1)
    ]
    read = [pair for pair in read if not _is_of_system(pair)]
    _unify_labels(table, read)
    pairs: dict[str, Pair] = {}
    texts: dict[str, dict[str, None]] = {}  # of each image, in order
    for pair in read:
        _check_agreement(pairs.setdefault(pair.name, pair), pair)
        texts.setdefault(pair.name, {}).update(dict.fromkeys(pair.texts))
    for name, pair in pairs.items():
        pair.texts = list(texts[name])
    found = list(pairs.values())
    _refuse(table, found, lambda pair: not pair.path.is_file(), "name a file that does not exist", _name, names.hint)
    _refuse(table, found, lambda pair: not pair.texts, "have no text", _place)
    if columns.label:
        unlabelled = f"have nothing in the column {columns.label!r}; label all pairs, or take the column away"
        merged = " Of merged cells only the first has a value: fill in the others." if table.suffix == ".xlsx" else ""
        _refuse(table, found, lambda pair: not pair.labels, unlabelled, _place, lambda first: merged)
    _refuse_equal_ids(table, found)
    return found, columns


def to_dataset(
    info: DatasetInfo,
    pairs: Sequence[Pair],
    label_column: str | None,
    classes: Sequence[str] | None,
    split_of: Callable[[str], str],
) -> datasets.DatasetDict:
    """Pairs as a data set.

    Args:
        info: the data set.
        pairs: the pairs, in the order of the table.
        label_column: "label", "labels" or None, as in the table.
        classes: class names in the order of their ids; None for those that occur, in natural order.
        split_of: id -> split, for pairs whose table has no split.
    """
    columns: dict[str, list[Any]] = {
        "id": [pair.id for pair in pairs],
        "image": [str(pair.path) for pair in pairs],
        "texts": [pair.texts for pair in pairs],
    }
    features = datasets.Features({"id": datasets.Value("string"), "image": datasets.Image(), "texts": TEXTS})
    if label_column:
        several = label_column == "labels"
        classes = classes or sorted({label for pair in pairs for label in pair.labels}, key=natural_order)
        unknown = sorted({label for pair in pairs for label in pair.labels} - set(classes))
        if unknown:
            raise DatasetError(f"{name_some(unknown)} is not a class of {info.title}: {', '.join(classes)}.")
        columns[label_column] = [list(pair.labels) if several else pair.labels[0] for pair in pairs]
        features = label_features(classes, several, image=datasets.Image(), texts=TEXTS)
    return build(info, columns, [pair.split or split_of(pair.id) for pair in pairs], features)


def _find_columns(table: Path, names: Iterable[str]) -> Columns:
    names = list(names)
    found = f"Its columns are: {', '.join(names)}."
    image, texts = image_column(names), text_columns(names)
    labels = [name for name in LABEL_COLUMNS if name in names]
    if image is None:
        raise DatasetError(f"{table} has no column {' or '.join(IMAGE_COLUMNS[:2])} that names the images. {found}")
    if not texts:
        raise DatasetError(f"{table} has no text column: text, texts, caption, captions or caption_0, … {found}")
    if len(labels) > 1:
        raise DatasetError(f"{table} has both a column label and a column labels; keep one of them.")
    columns = Columns(
        image=image,
        texts=texts,
        label=labels[0] if labels else None,
        split="split" if "split" in names else None,
        id="id" if "id" in names else None,
    )
    unused = set(names) - {columns.image, *texts, columns.label, columns.split, columns.id}
    if unused:
        logger.info("%s: columns that are not used: %s.", table, ", ".join(sorted(unused)))
    return columns


def _refuse_other_separators(rows: Sequence[Row]) -> None:
    """Refuse class names that look like several where none is divided as it should be."""
    cells = [(where, cell) for where, row in rows if isinstance(cell := row.get("labels"), str)]
    cells = [(where, cell) for where, cell in cells if not cell.lstrip().startswith(("[", "(", "{"))]
    if any(LABEL_SEPARATOR in cell for _, cell in cells):
        return
    for where, cell in cells:
        for sign, called in OTHER_SEPARATORS.items():
            if sign in cell:
                raise DatasetError(
                    f"{where}: the labels {cell!r} have {called}. Several classes are separated by "
                    f"{LABEL_SEPARATOR!r}: set the option label_separator to {sign!r}, or to {LABEL_SEPARATOR!r} if "
                    "this is the name of one class."
                )


def _read_pair(where: str, row: dict[str, Any], columns: Columns, names: FileNames, separator: str) -> Pair:
    written = row.get(columns.image)
    if not isinstance(written, str | int | float) or is_blank(written):
        raise DatasetError(f"{where}: the column {columns.image} must hold the path of an image, not {written!r}.")
    name = names.find(written if isinstance(written, str) else to_text(written))
    reason = unsafe_reason(name) if is_unicode(name) else "it is not UTF-8; rename the file"
    if reason is None and leads_out(names.folder / name, names.folder):
        reason = "a symbolic link leads out of the folder"
    if reason:
        raise DatasetError(f"{where}: the path {written!r} is refused, {reason}. Give paths from {names.folder} on.")
    name = str(PurePosixPath(name))
    texts = [text for column in columns.texts for text in _strings(where, column, row.get(column))]
    return Pair(
        where=where,
        name=name,
        path=names.folder / name,
        texts=list(dict.fromkeys(texts)),
        labels=_labels(where, columns.label, row.get(columns.label), separator) if columns.label else (),
        split=_split(where, row.get(columns.split)) if columns.split else None,
        id=_id(where, row.get(columns.id)) if columns.id else name,
    )


def _strings(where: str, column: str, value: Any, *, numbers: bool = False) -> list[str]:
    """A cell as its strings that are not blank; numbers and truth values count as their text."""
    several = listed(value, numbers=numbers) if isinstance(value, str) else value
    values = several if isinstance(several, list) else [value]
    values = [each for each in values if not is_blank(each)]
    if wrong := [each for each in values if not isinstance(each, str | int | float)]:
        raise DatasetError(f"{where}: the column {column} holds {wrong[0]!r}, which is not a text.")
    return [text for each in values if (text := to_text(each))]  # of halves of letters nothing is left


def _labels(where: str, column: str, value: Any, separator: str) -> tuple[str, ...]:
    names = _strings(where, column, value, numbers=True)
    is_one_cell = isinstance(value, str) and listed(value, numbers=True) is None
    if is_one_cell and column == "labels":
        if value.lstrip().startswith("["):
            raise DatasetError(
                f"{where}: the labels {value!r} are no list of JSON or Python. Write ['x', 'y'], or x{separator}y."
            )
        names = [name for name in re.split(f"{re.escape(separator)}|[\r\n]", value) if not is_blank(name)]
    if column == "label" and len(names) > 1:
        raise DatasetError(f"{where}: {len(names)} classes in the column label; for several name it labels.")
    return tuple(dict.fromkeys(map(class_name, names)))


def _unify_labels(table: Path, pairs: Sequence[Pair]) -> None:
    """Give the same class the same name in all rows."""
    unified = unify_numbers(dict.fromkeys(name for pair in pairs for name in pair.labels))
    for pair in pairs:
        pair.labels = tuple(dict.fromkeys(unified[name] for name in pair.labels))
    spellings: dict[str, list[str]] = {}
    for name in dict.fromkeys(unified.values()):
        spellings.setdefault(name.casefold(), []).append(name)
    if alike := [" and ".join(names) for names in spellings.values() if len(names) > 1]:
        logger.warning("%s: classes that differ in upper and lower case alone are two: %s.", table, name_some(alike))


def _is_of_system(pair: Pair) -> bool:
    """Whether the row names a file of a system, as a listing of the folder does."""
    return is_litter(pair.name) and (not pair.texts or PurePosixPath(pair.name).name.startswith("._"))


def _split(where: str, value: Any) -> str:
    if is_blank(value):
        raise DatasetError(f"{where}: there is no split; give every row one, or take the column away.")
    split = SPLIT_NAMES.get(str(value).strip().lower())
    if split is None:
        raise DatasetError(f"{where}: the split {value!r} is not one of {', '.join(SPLIT_NAMES)}.")
    return split


def _id(where: str, value: Any) -> str:
    ids = _strings(where, "id", value)
    if len(ids) != 1:
        raise DatasetError(f"{where}: the id is {value!r}; give every row one, or take the column away.")
    return ids[0]


def _check_agreement(first: Pair, other: Pair) -> None:
    for part in ("labels", "split", "id"):
        one, two = getattr(first, part), getattr(other, part)
        if one != two and not (part == "labels" and set(one) == set(two)):
            raise DatasetError(
                f"{other.where}: {other.name} has {part} {two!r} here but {one!r} in {first.where}. Rows of one "
                f"image must agree; give different images different names."
            )


def _name(pair: Pair) -> str:
    return pair.name


def _place(pair: Pair) -> str:
    return f"{pair.name} ({pair.where.rpartition(', ')[2]})"


def _refuse(
    table: Path,
    pairs: Sequence[Pair],
    wrong: Callable[[Pair], bool],
    what: str,
    called: Callable[[Pair], str],
    hint: Callable[[str], str] = lambda first: "",
) -> None:
    bad = [called(pair) for pair in pairs if wrong(pair)]
    if bad:
        raise DatasetError(f"{table}: {len(bad)} of {len(pairs)} images {what}: {name_some(bad)}.{hint(bad[0])}")


def _refuse_equal_ids(table: Path, pairs: Sequence[Pair]) -> None:
    seen: dict[str, Pair] = {}
    for pair in pairs:
        other = seen.setdefault(pair.id, pair)
        if other is not pair:
            raise DatasetError(f"{table}: {other.name} and {pair.name} have the same id {pair.id!r}.")
