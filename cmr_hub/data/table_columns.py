"""What the columns of people's tables are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

IMAGE_COLUMNS = ("file_name", "image", "filename", "image_path")
# A table without texts of the first kind has those of the second.
TEXT_COLUMNS = (
    re.compile(r"(text|caption)(s|_?\d+)?"),
    re.compile(r"(sentence|description|title)(s|_?\d+)?"),
)


def column_name(name: Any) -> str:
    """The name of a column, however a person wrote it: "File name" is file_name."""
    return re.sub(r"[\s-]+", "_", str(name or "").strip().lower())


def image_column(names: Sequence[str]) -> str | None:
    """The column that names the images."""
    return next((name for name in IMAGE_COLUMNS if name in names), None)


def text_columns(names: Iterable[str]) -> tuple[str, ...]:
    """The columns that hold the texts.

    Example:
    ```python
    >>> text_columns(["image", "title", "caption_0", "caption_1"]), text_columns(["image", "title"])
    (('caption_0', 'caption_1'), ('title',))
    ```
    """
    names = list(names)
    found = (tuple(name for name in names if kind.fullmatch(name)) for kind in TEXT_COLUMNS)
    return next(filter(None, found), ())


def is_header(cells: Iterable[Any]) -> bool:
    """Whether a row of cells names a column of images and one of texts.

    Example:
    ```python
    >>> is_header(["File name", "Text"]), is_header(["a.png", "a text"])
    (True, False)
    ```
    """
    names = [column_name(cell) for cell in cells]
    return image_column(names) is not None and bool(text_columns(names))
