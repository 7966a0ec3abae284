"""Small text files of archives that are older than the custom of saying their encoding."""

from __future__ import annotations

from pathlib import Path

from cmr_hub.errors import DatasetError

MAX_TEXT_BYTES = 16 << 20


def read_text(path: Path) -> str:
    """A text file, as UTF-8 or, where it is none, as Latin-1.

    Raises:
        DatasetError: it is missing, or larger than a text of a data set is.
    """
    if not path.is_file():
        raise DatasetError(f"{path} is missing. Unpack the whole archive.")
    size = path.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise DatasetError(f"{path} has {size:,} bytes; {MAX_TEXT_BYTES:,} are expected at most.")
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, without the white space around them; see [`read_text`]."""
    return [line for line in (line.strip() for line in read_text(path).split("\n")) if line]


def read_numbers(path: Path) -> list[int]:
    """A text file with one whole number a line, none of them negative.

    Raises:
        DatasetError: it is missing or too large, or a line is no such number.
    """
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        if not (line.isascii() and line.isdecimal() and len(line) < 10):
            raise DatasetError(f"{path}, row {number}: {line[:40]!r} is not a whole number.")
    return [int(line) for line in lines]
