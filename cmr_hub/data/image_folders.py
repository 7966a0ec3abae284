"""The image files in people's folders, without what their systems leave next to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from cmr_hub.errors import InputError
from cmr_hub.utils.images import OTHER_SUFFIXES, SUFFIXES

# Of Windows, macOS and network drives, in lower case; names that begin with a dot are litter as well.
LITTER = frozenset(
    ("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "__macosx", "@eadir")
)


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is hidden or left by a system: `.DS_Store`, `._a.jpg`, `Thumbs.db`.

    Args:
        name: of one file or folder, or a path with "/" between names, any of which may be litter.

    Example:
    ```python
    >>> is_litter("photos/._a.png"), is_litter("photos/a.png")
    (True, False)
    ```
    """
    parts = PurePosixPath(name).parts
    return any((part.startswith(".") and part != "..") or part.lower() in LITTER for part in parts)


def is_image_name(name: str) -> bool:
    """Whether a file of this name is an image to people, of a format that is read or not."""
    return PurePosixPath(name).suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES)


def find_images(folder: Path) -> list[Path]:
    """The files in a folder, in depth and sorted, that are images by their names; links to folders are not followed.

    Raises:
        InputError: a folder may not be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}). Change its permissions.") from error

    return sorted(path for path in walk_files(folder, refuse) if is_image_name(path.name))


def walk_files(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    """The files in a folder, in depth, without litter; links to folders are not followed.

    Args:
        folder: to look through.
        on_error: called with the error of a folder that may not be read.
    """
    for parent, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = [name for name in folders if not is_litter(name)]
        yield from (Path(parent, name) for name in names if not is_litter(name))
