"""Tables that visitors upload next to their images: checked, and rid of the folders that browsers do not send."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from cmr_hub.data.table import IMAGE_COLUMNS
from cmr_hub.errors import InputError

MB = 1_000_000
MAX_TABLE = 4 * MB  # bytes
MAX_LINES = 20_000
MAX_TEXT = 5_000  # characters of one text, label or id
SUFFIXES = (".csv", ".jsonl")


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


def without_folders(content: bytes, name: str) -> bytes:
    """A table that names files as browsers send them: without the folders that they lay in.

    What cannot be read stays as it is, for `read_pairs` to say why.

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

    try:
        text = content.decode("utf-8-sig")
        if name.lower().endswith(".csv"):
            return _bare_csv(text, bare).encode()
        return "\n".join(_bare_json(line, bare) for line in text.split("\n")).encode()
    except (UnicodeError, csv.Error):
        return content


def _bare_csv(text: str, bare: Callable[[Any], Any]) -> str:
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    header = [cell.strip() for cell in rows[0]] if rows else []
    column = next((header.index(known) for known in IMAGE_COLUMNS if known in header), None)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    for number, row in enumerate(rows):
        if number and column is not None and column < len(row):
            row[column] = bare(row[column])
        writer.writerow(row)
    return out.getvalue()


def _bare_json(line: str, bare: Callable[[Any], Any]) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return line
    known = next((known for known in IMAGE_COLUMNS if isinstance(row, dict) and known in row), None)
    return line if known is None else json.dumps({**row, known: bare(row[known])})


def printable(name: str) -> str:
    """Without halves of letters, which neither file systems nor Parquet can hold."""
    return name.encode("utf-8", "replace").decode()
