"""Rows of the tables that people have: CSV of any separator and encoding, JSON, JSON lines and Excel workbooks."""

from __future__ import annotations

import codecs
import csv
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, time
from itertools import chain, islice
from pathlib import Path
from typing import Any

from cmr_hub.errors import DatasetError
from cmr_hub.utils.extras import require
from cmr_hub.utils.messages import name_some

from .annotation_files import rows_of_annotations
from .cells import is_blank
from .image_folders import is_image_name
from .table_columns import column_name, is_header

logger = logging.getLogger(__name__)

MAX_TABLE_BYTES = 256 << 20  # a table is read whole; a million captions take about 100 MB
TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".txt")
SUFFIXES = (*TEXT_SUFFIXES, ".xlsx")
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MAX_ROWS_ABOVE = 20  # of a title, notes and blank cells above the header
LINE_END = re.compile(r"\r\n|\r|\n")
# What Excel and PowerShell write above the header, and blank rows.
PREAMBLE = re.compile(rf"(?:(?:sep=.|#TYPE [^\r\n]*|[ \t;,|]*)(?:{LINE_END.pattern}))*")
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# What text in Windows-1252 hardly ever has: three letters in a row beyond ASCII, a sign within a word, or a capital
# after a small letter. Text in other encodings of one or two bytes (Cyrillic, Chinese, Mac OS Roman) is full of them.
SIGNS = "¡¢£¤¥¦¨©«¬®¯±²³¶¸¹»¼½¾¿×÷‚„†‡ˆ‰‹›•˜™"
NOT_WINDOWS_1252 = re.compile(rf"[^\W\d_a-zA-Z]{{3}}|[^\W\d_][{SIGNS}][^\W\d_]|[a-zß-ÿ][ŠŽŸŒ]")
NON_ASCII_WORD = re.compile(r"\w*[^\x00-\x7f]\w*")
Row = tuple[str, dict[str, Any]]  # where it stands, as in "table, line 3", and column -> value


def read_rows(table: Path, encoding: str | None = None) -> Iterator[Row]:
    """Read the rows of a table that are not blank, by the suffix of its name.

    Args:
        table: `.jsonl` and `.json` hold objects, or `.json` annotations as those of MS-COCO; `.xlsx` sheets, of which
            the first with a header counts; any other file CSV, whose separator is the one that divides the header into
            the most columns. Rows above the header, such as a title, are left out.
        encoding: of its text; found where it is None, see [`read_text`].

    Raises:
        DatasetError: the table is too large, or cannot be read.
        MissingExtraError: it is a workbook, and openpyxl is not installed.
    """
    _check_size(table)
    if table.suffix.lower() == ".xlsx":
        return _workbook_rows(table)
    content = read_text(table, encoding)
    read = {".jsonl": _json_line_rows, ".json": _json_rows}.get(table.suffix.lower(), _csv_rows)
    return read(table, content)


def read_text(table: Path, encoding: str | None = None) -> str:
    """Read the text of a table.

    Args:
        table: the file.
        encoding: of its text. By default the one that its first bytes tell, UTF-8, or with a warning Windows-1252
            where the result looks like words.

    Raises:
        DatasetError: the table is too large, or in an encoding that is not known.
    """
    _check_size(table)
    content = table.read_bytes()
    if encoding is None:
        encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
        if encoding is None and b"\0" in content[:2]:
            encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        return content.decode(encoding or "utf-8").removeprefix("\ufeff")
    except LookupError as error:
        raise DatasetError(f"{table}: there is no encoding {encoding!r}. Some are utf-8, cp1252, gb18030.") from error
    except UnicodeDecodeError as error:
        if encoding is None and (text := _from_windows_1252(content)) is not None:
            words = NON_ASCII_WORD.findall(text)
            logger.warning(
                "%s is not UTF-8 and is read as Windows-1252, as in %r. If that is wrong, save it as UTF-8, or name "
                "its encoding by the option encoding.",
                table,
                max(words, key=len),
            )
            return text
        hint = "" if encoding == "utf-8" else ", or name its encoding by the option encoding"
        raise DatasetError(
            f"{table} is not {(encoding or 'utf-8').upper()}: byte {error.start} is {content[error.start]:#04x}. Save "
            f"it as UTF-8{hint}."
        ) from error


def _check_size(table: Path) -> None:
    size = table.stat().st_size
    if size > MAX_TABLE_BYTES:
        raise DatasetError(f"{table} has {size:,} bytes; a metadata table may have {MAX_TABLE_BYTES:,}. Split it.")


def _from_windows_1252(content: bytes) -> str | None:
    """The text, where it looks like one."""
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return None if NOT_WINDOWS_1252.search(text) else text


def _csv_rows(table: Path, content: str) -> Iterator[Row]:
    above = match[0] if (match := PREAMBLE.match(content)) else ""
    content, lines_above = content[len(above) :], len(LINE_END.findall(above))
    separator = max(SEPARATORS, key=lambda sign: _fitness(content, sign))  # the first of equal ones
    # As people type it: 'a.png, "A cat, asleep"'.
    has_blanks = all(name.startswith(" ") for name in _header(content, separator)[1:])
    reader = csv.reader(
        io.StringIO(content, newline=""), delimiter=separator, strict=True, skipinitialspace=has_blanks
    )

    def lines() -> Iterator[tuple[str, Sequence[str]]]:
        for cells in reader:
            yield f"{table}, line {lines_above + reader.line_num}", cells

    hint = f"Put texts with a {SEPARATORS[separator]} in double quotes."
    try:
        yield from _rows_of_cells(table, lines(), hint)
    except csv.Error as error:
        raise DatasetError(
            f"{table}, line {lines_above + reader.line_num}: not valid CSV ({error}). Within a text in double quotes, "
            'write each quote twice: "a ""big"" cat".'
        ) from error


def _fitness(content: str, separator: str) -> tuple[bool, int]:
    """Whether a separator makes one of the first rows a header, and of how many columns; else those of the first."""
    header = _header(content, separator)
    return is_header(header), len(header)


def _header(content: str, separator: str) -> list[str]:
    """The first row that is a header with a separator, otherwise the first one."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator)
    try:
        rows = list(islice((cells for cells in reader if not is_blank(cells)), MAX_ROWS_ABOVE + 1))
    except csv.Error:  # which reading the rows will report
        return []
    return next(filter(is_header, rows), next(iter(rows), []))


def _workbook_rows(table: Path) -> Iterator[Row]:
    openpyxl = require("openpyxl", "excel", f"{table.name} (unless you save it as 'CSV UTF-8' in Excel)")
    try:
        book = openpyxl.load_workbook(table, read_only=True, data_only=True)
        sheets = {sheet.title: _filled_rows(table, sheet) for sheet in book.worksheets}
        book.close()
    except Exception as error:  # of a damaged workbook the parsing raises whatever it runs into
        raise DatasetError(f"{table} cannot be read as an Excel workbook: {error}. Save it as CSV UTF-8.") from error
    if not sheets:
        raise DatasetError(f"{table} has no sheet with cells. Save it as CSV UTF-8.")
    headed = [title for title, rows in sheets.items() if _header_place(rows) is not None]
    title = [*headed, *sheets][0]
    if len(sheets) > 1:
        also = f" {name_some(headed[1:])} has such columns as well: put all rows into one sheet." if headed[1:] else ""
        logger.warning("%s has %d sheets; %r is read.%s", table, len(sheets), title, also)
    yield from _rows_of_cells(table, sheets[title])


def _filled_rows(table: Path, sheet: Any) -> list[tuple[str, list[Any]]]:
    rows = ([_of_workbook(cell) for cell in row] for row in sheet.iter_rows(values_only=True))
    return [(f"{table}, row {number}", cells) for number, cells in enumerate(rows, start=1) if not is_blank(cells)]


def _of_workbook(cell: Any) -> Any:
    """A cell as text or a number; dates as they are written in ISO 8601."""
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date().isoformat()
    return cell if cell is None or isinstance(cell, str | int | float) else str(cell)


def _header_place(rows: Sequence[tuple[str, Sequence[Any]]]) -> int | None:
    """Which of the first rows is the header; None where none of them is."""
    return next((place for place, (_, cells) in enumerate(rows[: MAX_ROWS_ABOVE + 1]) if is_header(cells)), None)


def _rows_of_cells(table: Path, lines: Iterable[tuple[str, Sequence[Any]]], hint: str = "") -> Iterator[Row]:
    """Rows of cells, the header among the first of them. Blank ones are left out, and so are columns without a name.

    Cells that are missing at the end of a row are blank, as Excel leaves them out.
    """
    filled = (line for line in lines if not all(map(is_blank, line[1])))
    first = list(islice(filled, MAX_ROWS_ABOVE + 1))
    place = _header_place(first) or 0
    header: Sequence[Any] = first[place][1] if first else []
    names = [column_name(name) for name in header]
    if any(is_image_name(name) for name in names):
        raise DatasetError(
            f"{table} has no header: its first row is {', '.join(names)}. Put file_name and text above."
        )
    while names and not names[-1]:
        names.pop()
    named = {place: name for place, name in enumerate(names) if name}
    if len(set(named.values())) < len(named):
        raise DatasetError(f"{table} has two columns of one name in its header: {', '.join(named.values())}.")
    for where, cells in chain(first[place + 1 :], filled):
        if any(not is_blank(cell) for cell in cells[len(names) :]):
            sizes = f"{len(cells)} cells, but the header has {len(names)} columns."
            raise DatasetError(f"{where}: {sizes} {hint}".rstrip())
        row = {name: cells[place] if place < len(cells) else None for place, name in named.items()}
        if not all(map(is_blank, row.values())):
            yield where, row


def _json_line_rows(table: Path, content: str) -> Iterator[Row]:
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
        yield where, _with_column_names(where, row)


def _json_rows(table: Path, content: str) -> Iterator[Row]:
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        hint = " Of one object per line call it .jsonl." if "Extra data" in str(error) else ""
        raise DatasetError(f"{table}: not valid JSON ({error}).{hint}") from error
    if isinstance(rows, dict) and "images" in rows:
        yield from rows_of_annotations(table, rows)
        return
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DatasetError(
            f"{table} must hold a list of objects, one per row: of pandas df.to_json(path, orient='records')."
        )
    for number, row in enumerate(rows, start=1):
        where = f"{table}, row {number}"
        yield where, _with_column_names(where, row)


def _with_column_names(where: str, row: Mapping[str, Any]) -> dict[str, Any]:
    named = {column_name(name): value for name, value in row.items()}
    if len(named) < len(row):
        raise DatasetError(f"{where}: two columns of one name: {', '.join(row)}.")
    return named
