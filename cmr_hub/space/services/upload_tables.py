"""Tables that visitors upload next to their images: limits, and rows without the folders that browsers do not send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from cmr_hub.data.table_columns import IMAGE_COLUMNS
from cmr_hub.data.table_files import Row
from cmr_hub.errors import InputError

MB = 1_000_000
MAX_TABLE = 4 * MB  # bytes
MAX_LINES = 20_000
MAX_TEXT = 5_000  # characters of one text, label or id
SUFFIXES = (".csv", ".tsv", ".jsonl")


def check_size(name: str, content: bytes) -> None:
    """Refuse a table that is too long.

    Raises:
        InputError: it has more than `MAX_TABLE` bytes or `MAX_LINES` lines.
    """
    if len(content) > MAX_TABLE:
        raise InputError(f"{name} has more than {MAX_TABLE // MB} MB, the most that a table may have. Shorten it.")
    if (lines := content.count(b"\n")) > MAX_LINES:
        raise InputError(f"{name} has {lines:,} lines; a table may have {MAX_LINES:,}. Shorten it.")


def check_text(text: str, where: str) -> None:
    """Refuse a text that is too long, or that no file can hold.

    Raises:
        InputError: it has more than `MAX_TEXT` characters, or halves of letters.
    """
    if len(text) > MAX_TEXT:
        raise InputError(f"{where}: a text has {len(text):,} characters; {MAX_TEXT:,} are allowed. Shorten it.")
    if text != printable(text):
        raise InputError(f"{where}: {text[:60]!r} holds halves of letters. Save the table again, as UTF-8.")


def without_folders(rows: Iterable[Row], name: str) -> Iterator[Row]:
    """Rows that name files as browsers send them: without the folders that they were in.

    Args:
        rows: of the table.
        name: how the sender calls the table.

    Raises:
        InputError: files of two folders have the same name.
    """
    whose: dict[str, str] = {}

    def bare(value: Any) -> Any:
        found = PurePosixPath(value.replace("\\", "/")).name if isinstance(value, str) else ""
        if found and whose.setdefault(found, value) != value:
            raise InputError(
                f"{name} names {value!r} and {whose[found]!r}, but browsers send files without their folders. Pack "
                "the folder as a zip."
            )
        return found or value

    for where, row in rows:
        column = next((column for column in IMAGE_COLUMNS if column in row), None)
        yield where, row if column is None else {**row, column: bare(row[column])}


def printable(name: str) -> str:
    """Without halves of letters, which neither file systems nor Parquet can hold."""
    return name.encode("utf-8", "replace").decode()
