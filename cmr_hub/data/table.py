"""Pairs of images and texts listed in one metadata table (CSV or JSON lines) next to a folder of images."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
from tqdm.auto import tqdm

from cmr_hub.errors import DatasetError
from cmr_hub.utils.messages import name_some

from .base import TEXTS, DatasetInfo, build, label_features
from .labels import LABEL_COLUMNS
from .paths import leads_out, unsafe_reason

logger = logging.getLogger(__name__)

MAX_TABLE_BYTES = 256 << 20  # a table is read whole; a million captions take about 100 MB
IMAGE_COLUMNS = ("file_name", "image")
TEXT_COLUMN = re.compile(r"(text|caption)(s|_?\d+)?")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
Row = tuple[str, dict[str, Any]]  # where it stands, as in "table, line 3", and column -> value


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


def read_pairs(table: Path, images: Path, label_separator: str = ";") -> tuple[list[Pair], Columns]:
    """Read a table; rows of the same image become one pair with several texts.

    Args:
        table: a file with a header and comma-separated cells or, called `.jsonl`, with one object a line, in UTF-8.
        images: the folder that the table's image names start from. No name may lead out of it.
        label_separator: between the class names in a CSV cell of the column `labels`.

    Raises:
        DatasetError: the table cannot be read, lacks a column, names files that are not there or lie outside of
            `images`, has rows without text, or rows of one image that contradict each other.
    """
    return to_pairs(table, read_rows(table), images, label_separator)


def to_pairs(table: Path, rows: Iterable[Row], images: Path, label_separator: str = ";") -> tuple[list[Pair], Columns]:
    """The same of rows that another reader found in `table`."""
    rows = list(rows)
    if not rows:
        raise DatasetError(f"{table} lists no images: there is no row in it.")
    columns = _find_columns(table, dict.fromkeys(name for _, row in rows for name in row))
    images = images.resolve()
    pairs: dict[str, Pair] = {}
    texts: dict[str, dict[str, None]] = {}  # of each image, in order
    for where, row in tqdm(rows, desc=f"Reading {table.name}", unit=" rows", delay=1):
        pair = _read_pair(where, row, columns, images, label_separator)
        _check_agreement(pairs.setdefault(pair.name, pair), pair)
        texts.setdefault(pair.name, {}).update(dict.fromkeys(pair.texts))
    for name, pair in pairs.items():
        pair.texts = list(texts[name])
    listed = list(pairs.values())
    _refuse(table, listed, lambda pair: not pair.path.is_file(), "name a file that does not exist", _name)
    _refuse(table, listed, lambda pair: not pair.texts, "have no text", _place)
    if columns.label:
        unlabelled = f"have nothing in the column {columns.label!r}; label all pairs, or take the column away"
        _refuse(table, listed, lambda pair: not pair.labels, unlabelled, _place)
    _refuse_equal_ids(table, listed)
    return listed, columns


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
        classes: class names in the order of their ids; None for those that occur, sorted.
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
        classes = classes or sorted({label for pair in pairs for label in pair.labels})
        unknown = sorted({label for pair in pairs for label in pair.labels} - set(classes))
        if unknown:
            raise DatasetError(f"{name_some(unknown)} is not a class of {info.title}: {', '.join(classes)}.")
        columns[label_column] = [list(pair.labels) if several else pair.labels[0] for pair in pairs]
        features = label_features(classes, several, image=datasets.Image(), texts=TEXTS)
    return build(info, columns, [pair.split or split_of(pair.id) for pair in pairs], features)


def read_rows(table: Path) -> Iterator[Row]:
    """The rows that are not blank, of CSV or JSON lines."""
    content = read_text(table)
    return _json_rows(table, content) if table.suffix == ".jsonl" else _csv_rows(table, content)


def read_text(table: Path) -> str:
    """A table's text.

    Raises:
        DatasetError: it is too large, or not UTF-8.
    """
    size = table.stat().st_size
    if size > MAX_TABLE_BYTES:
        raise DatasetError(f"{table} has {size:,} bytes; a metadata table may have {MAX_TABLE_BYTES:,}. Split it.")
    try:
        return table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{table} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}. Save it as UTF-8."
        ) from error


def _csv_rows(table: Path, content: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header):
            raise DatasetError(f"{table} has two columns of one name in its header: {', '.join(header)}.")
        for cells in reader:
            where = f"{table}, line {reader.line_num}"
            if not cells:
                continue
            if len(cells) != len(header):
                raise DatasetError(
                    f"{where}: {len(cells)} cells, but the header has {len(header)} columns. Put texts with a comma "
                    f"in double quotes."
                )
            yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DatasetError(f"{table}, line {reader.line_num}: not valid CSV ({error}).") from error


def _json_rows(table: Path, content: str) -> Iterator[Row]:
    for number, line in enumerate(content.split("\n"), start=1):
        where = f"{table}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{where}: not valid JSON ({error}). Each line is one JSON object.") from error
        if not isinstance(row, dict):
            raise DatasetError(f"{where}: a {type(row).__name__}; each line must be a JSON object.")
        yield where, row


def _find_columns(table: Path, names: Iterable[str]) -> Columns:
    names = list(names)
    found = f"Its columns are: {', '.join(names)}."
    images = [name for name in IMAGE_COLUMNS if name in names]
    texts = tuple(name for name in names if TEXT_COLUMN.fullmatch(name))
    labels = [name for name in LABEL_COLUMNS if name in names]
    if not images:
        raise DatasetError(f"{table} has no column {' or '.join(IMAGE_COLUMNS)} that names the images. {found}")
    if not texts:
        raise DatasetError(f"{table} has no text column: text, texts, caption, captions or caption_0, … {found}")
    if len(labels) > 1:
        raise DatasetError(f"{table} has both a column label and a column labels; keep one of them.")
    columns = Columns(
        image=images[0],
        texts=texts,
        label=labels[0] if labels else None,
        split="split" if "split" in names else None,
        id="id" if "id" in names else None,
    )
    unused = set(names) - {columns.image, *texts, columns.label, columns.split, columns.id}
    if unused:
        logger.info("%s: columns that are not used: %s.", table, ", ".join(sorted(unused)))
    return columns


def _read_pair(where: str, row: dict[str, Any], columns: Columns, images: Path, separator: str) -> Pair:
    name = row.get(columns.image)
    if not isinstance(name, str):
        raise DatasetError(f"{where}: the column {columns.image} must hold the path of an image, not {name!r}.")
    reason = unsafe_reason(name)
    if reason is None and leads_out(images / name, images):
        reason = "a symbolic link leads out of the folder"
    if reason:
        raise DatasetError(f"{where}: the path {name!r} is refused, {reason}. Images must lie in {images}.")
    name = str(PurePosixPath(name))
    texts = [text for column in columns.texts for text in _strings(where, column, row.get(column))]
    labels = _strings(where, columns.label, row.get(columns.label)) if columns.label else []
    if columns.label == "labels" and isinstance(row.get("labels"), str):
        labels = [label.strip() for label in row["labels"].split(separator) if label.strip()]
    if columns.label == "label" and len(labels) > 1:
        raise DatasetError(f"{where}: {len(labels)} classes in the column label; for several name it labels.")
    return Pair(
        where=where,
        name=name,
        path=images / name,
        texts=list(dict.fromkeys(texts)),
        labels=tuple(dict.fromkeys(labels)),
        split=_split(where, row.get(columns.split)) if columns.split else None,
        id=_id(where, row.get(columns.id)) if columns.id else name,
    )


def _strings(where: str, column: str, value: Any) -> list[str]:
    """A cell as its strings that are not blank; numbers and truth values count as their text."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    if wrong := [each for each in values if not isinstance(each, str | int | float)]:
        raise DatasetError(f"{where}: the column {column} holds {wrong[0]!r}, which is not a text.")
    return [text for text in (str(each).strip() for each in values) if text]


def _split(where: str, value: Any) -> str:
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
        if one != two:
            raise DatasetError(
                f"{other.where}: {other.name} has {part} {two!r} here but {one!r} in {first.where}. Rows of one "
                f"image must agree; give different images different names."
            )


def _name(pair: Pair) -> str:
    return pair.name


def _place(pair: Pair) -> str:
    return f"{pair.name} ({pair.where.rpartition(', ')[2]})"


def _refuse(
    table: Path, pairs: Sequence[Pair], wrong: Callable[[Pair], bool], what: str, called: Callable[[Pair], str]
) -> None:
    bad = [called(pair) for pair in pairs if wrong(pair)]
    if bad:
        raise DatasetError(f"{table}: {len(bad)} of {len(pairs)} images {what}: {name_some(bad)}.")


def _refuse_equal_ids(table: Path, pairs: Sequence[Pair]) -> None:
    seen: dict[str, Pair] = {}
    for pair in pairs:
        other = seen.setdefault(pair.id, pair)
        if other is not pair:
            raise DatasetError(f"{table}: {other.name} and {pair.name} have the same id {pair.id!r}.")
