"""Damaged files of caches, which can be made again."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

SUFFIX = ".damaged"


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file, so that nothing reads it again, and say so in one warning.

    A file that cannot be renamed, as in a folder that is read-only, is left where it is.

    Args:
        path: of the file.
        reason: what is wrong with it, as the end of a sentence.
    """
    aside = path.with_name(path.name + SUFFIX)
    with suppress(OSError):  # another process was faster, or may not write here
        os.replace(path, aside)
    logger.warning(
        "%s %s: it is made anew%s.", path, reason, f" and the file kept as {aside.name}" if aside.exists() else ""
    )
