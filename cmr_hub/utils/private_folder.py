"""A temporary folder of one process, which is removed when the process ends."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout


class PrivateFolder:
    """A folder that only this user may look into, with a lock next to it that its process holds while it lives.

    It is removed at exit. Folders of the same prefix whose processes were killed are removed when another is made.

    Args:
        prefix: start of its name.
        parent: where to make it; by default among the system's temporary files.

    Attributes:
        path: the folder, without symbolic links on the way to it.
    """

    def __init__(self, prefix: str, parent: str | os.PathLike | None = None):
        folder = Path(os.path.realpath(parent or tempfile.gettempdir()))
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder, prefix)
        self.path = folder / f"{prefix}{secrets.token_hex(8)}"
        # Locked before it is made: there is no moment at which it looks like one that was left behind.
        self._lock = FileLock(_lock_of(self.path))
        self._lock.acquire()
        self.path.mkdir(mode=0o700)
        atexit.register(self.remove)

    def remove(self) -> None:
        """Remove the folder and all that is in it. Removing twice does no harm."""
        atexit.unregister(self.remove)
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        _lock_of(self.path).unlink(missing_ok=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _remove_leftovers(folder: Path, prefix: str) -> None:
    me = folder.stat().st_uid if not hasattr(os, "getuid") else os.getuid()
    for lock in folder.glob(f"{prefix}*.lock"):
        with suppress(Timeout, OSError):
            if lock.is_symlink() or lock.stat().st_uid != me:  # another user may have put it there
                continue
            with FileLock(lock, timeout=0):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink()
