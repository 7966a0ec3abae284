"""A full disk as an error that says where it is full and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from cmr_hub.errors import DiskFullError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# In errors of libraries: the system's words in those of safetensors; SQLite; torch's writer of files.
MESSAGES = (*map(os.strerror, FULL), "disk is full", "inline_container.cc", "iostream error")


@contextmanager
def naming_full_disk(folder: str | os.PathLike) -> Iterator[None]:
    """A block that writes to a folder, and whose errors of a full disk name it; of such blocks the outermost counts.

    Raises:
        DiskFullError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if not is_of_full_disk(error):
            raise
        raise DiskFullError(
            f"The disk is full, or your share of it: nothing more can be written to {os.fspath(folder)}. What was "
            "saved there before is as it was. Free some space and run the same command again; a training continues "
            "with --resume."
        ) from (error.__cause__ if isinstance(error, DiskFullError) else error)


def is_of_full_disk(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is that of a full disk.

    Example:
    ```python
    >>> is_of_full_disk(OSError(28, "No space left on device")), is_of_full_disk(OSError(13, "Permission denied"))
    (True, False)
    ```
    """
    if isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in FULL):
        return True
    if any(text in str(error) for text in MESSAGES):
        return True
    earlier = error.__cause__ or error.__context__
    return earlier is not None and is_of_full_disk(earlier)
