"""A folder of this process alone, which goes with it."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout


def private_folder(prefix: str) -> tuple[Path, FileLock]:
    """Make a folder that only this user may look into, and a lock next to it that its process holds while it lives.

    Folders of the same prefix that were left by processes that were killed are removed.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*.lock"):
        with suppress(Timeout, OSError), FileLock(path, timeout=0):
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink()
    folder = tempfile.mkdtemp(prefix=prefix)
    lock = FileLock(f"{folder}.lock")
    lock.acquire()
    return Path(folder), lock
