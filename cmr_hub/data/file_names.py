"""Files as people's tables name them, which may have been made on another system than the one that reads them."""

from __future__ import annotations

import unicodedata
from functools import cached_property
from pathlib import Path, PurePosixPath

from .image_folders import is_image_name, is_litter


class FileNames:
    """Finds the files that names mean.

    Systems differ in what divides folders, in whether upper and lower case are the same, and in how they write
    accents: a Mac may store "é" as two characters. People leave out suffixes, which Windows hides, and the folder that
    all images are in.

    Args:
        folder: the folder that names start from, resolved.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._found: dict[str, str] = {}

    def find(self, name: str) -> str:
        """Return the path of the one file that is meant, relative to the folder; the name itself where there is none.

        A path from another system or above the folder is not looked for: check what is returned.
        """
        if name not in self._found:
            self._found[name] = self._find(name.strip())
        return self._found[name]

    def _find(self, name: str) -> str:
        name = name.replace("\\", "/").removeprefix(f"{self.folder.as_posix()}/")
        if _exists(self.folder / name):
            return name
        plain = _plain(str(PurePosixPath(name)))
        meant = self._files.get(plain) or self._images.get(plain) or []
        return meant[0] if len(meant) == 1 else name

    @cached_property
    def _images(self) -> dict[str, list[str]]:
        """Plain path without the suffix, plain name, plain name without the suffix -> all images that it may mean."""
        images: dict[str, list[str]] = {}
        for plain, names in self._files.items():
            path = PurePosixPath(plain)
            if is_image_name(plain) and not is_litter(plain):
                for meant in {str(path.with_suffix("")), path.name, path.stem}:
                    images.setdefault(meant, []).extend(names)
        return images

    def hint(self, name: str) -> str:
        """Which file may be meant by a name that no file has: one in another folder, or with a suffix; "" if none."""
        wanted = _plain(PurePosixPath(name).name)
        found = (files[0] for plain, files in sorted(self._files.items()) if _may_be(PurePosixPath(plain), wanted))
        meant = next(found, None)
        return "" if meant is None else f" There is {meant}."

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        """Plain name -> all files of this name."""
        files: dict[str, list[str]] = {}
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            files.setdefault(_plain(name), []).append(name)
        return files


def _plain(name: str) -> str:
    """A name without what systems do not tell apart."""
    return unicodedata.normalize("NFC", name).casefold()


def _may_be(path: PurePosixPath, name: str) -> bool:
    return path.name == name or (path.stem == name and is_image_name(path.name))


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or with a NUL
        return False
