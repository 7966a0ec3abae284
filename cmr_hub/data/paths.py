"""Paths that come from outside (metadata, archives, web pages) and must not lead out of their folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cmr_hub.errors import DatasetError
from cmr_hub.utils.messages import name_some


def unsafe_reason(name: str) -> str | None:
    """Why a relative path as written is not safe to append to a folder on any system; None when it is.

    Example:
    ```python
    >>> unsafe_reason("images/cat.png") is None
    True
    >>> unsafe_reason("../cat.png")
    "it contains '..'"
    ```
    """
    if not name.strip():
        return "it is empty"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "it contains control characters"
    if "\\" in name:
        return "it contains a backslash; write '/' between folders"
    if "://" in name:
        return "it is an address, not a file"
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "it is absolute"
    if ".." in name.split("/"):
        return "it contains '..'"
    return None


def leads_out(path: Path, folder: Path) -> bool:
    """Whether symbolic links take `path` out of `folder`, which must be resolved already."""
    return not Path(os.path.realpath(path)).is_relative_to(folder)


def refuse_missing(folder: Path, paths: Sequence[Path]) -> None:
    """Refuse files that a list in `folder` names and that are not there.

    Raises:
        DatasetError: some are missing; it names the first few.
    """
    missing = [path.relative_to(folder).as_posix() for path in paths if not path.is_file()]
    if missing:
        raise DatasetError(
            f"{folder}: {len(missing)} of the {len(paths)} listed files are missing: {name_some(missing)}. Unpack the "
            f"whole archive."
        )
