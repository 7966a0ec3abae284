"""Files that visitors upload: where they are put, and which path may be opened for whom.

Each upload is put into a folder of its own whose name cannot be guessed, and only its sender is told that name. A path
is accepted if it names a regular file in such a folder, to the letter: whoever did not send a file cannot name it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path, PurePath

from cmr_hub.errors import InputError
from cmr_hub.utils.private_folder import PrivateFolder

from .upload_tables import printable

VARIABLE = "GRADIO_TEMP_DIR"  # where Gradio puts files; read each time
PREFIX = "cmr-space-"
UPLOAD = "upload-"
MAX_NAME = 100  # characters of a file's name in a message

_folders: dict[str, PrivateFolder] = {}


def receive_privately() -> Path:
    """Have Gradio put all files into a folder of this process alone, which is removed at exit.

    Returns:
        The folder; the same one when called again.
    """
    current = os.environ.get(VARIABLE)
    if current is None or current not in _folders:
        folder = PrivateFolder(PREFIX, current)
        _folders[str(folder.path)] = folder
        os.environ[VARIABLE] = str(folder.path)
    return root()


def root() -> Path:
    """The folder that all files of the Space are in, resolved."""
    return Path(os.path.realpath(os.environ.get(VARIABLE) or Path(tempfile.gettempdir(), "gradio")))


def new_folder() -> Path:
    """Make the folder of one upload."""
    folder = root() / f"{UPLOAD}{secrets.token_urlsafe(24)}"
    folder.mkdir(mode=0o700, parents=True)
    return folder


def received_file(path: object) -> Path:
    """An uploaded file, by the path that its sender was told. Every path that a visitor gives has to pass here.

    Raises:
        InputError: the path names anything else. The message is the same whether there is such a file or not.
    """
    if isinstance(path, str) and is_plain_file(path):
        parts = PurePath(path).relative_to(root()).parts
        if len(parts) > 1 and parts[0].startswith(UPLOAD):
            return Path(path)
    raise InputError(f"{name_of(path)} is no longer on the server. Choose it again.")


def is_plain_file(path: str) -> bool:
    """Whether a path names a regular file of the Space as it stands: no symbolic link, no "..", no device."""
    with suppress(OSError, ValueError):  # such as a name that is too long, or with a NUL
        is_literal = os.path.realpath(path) == path and PurePath(path).is_relative_to(root())
        return is_literal and stat.S_ISREG(os.lstat(path).st_mode)
    return False


def name_of(path: object) -> str:
    """What to call a file in a message: its name, without the folders that it is in."""
    name = PurePath(path.replace("\\", "/")).name if isinstance(path, str) else ""
    return printable(name[:MAX_NAME]) or "The file"


def remove_older(seconds: float) -> None:
    """Remove uploads and other files that have not changed for some time, except visitors' packed galleries."""
    before = time.time() - seconds
    for entry in root().iterdir():
        if not entry.name.startswith("own-"):
            with suppress(OSError):  # it may be removed meanwhile
                if max(path.lstat().st_mtime for path in (entry, *entry.rglob("*"))) < before:
                    remove(entry)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is still there."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
