"""Digests of a checkpoint's or gallery's files: written with every save, checked by every load.

`checksums.json` lists what loading reads. Cards and licences, which people edit, and records of how the files were
made are not in it. A folder inside that has a `checksums.json` of its own checks itself.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import msgspec
import xxhash

from cmr_hub.errors import CheckpointError

from .checkpoint_files import check_regular, inner_path, read_json
from .files import atomic_file, atomic_folder, file_names, flush, reading

CHECKSUMS_NAME = "checksums.json"
BLOCK_BYTES = 1 << 20
_LISTED = ("*.json", "*.jsonl", "*.csv", "*.safetensors", "*.parquet", "*.yaml", "*.txt", "*.jinja")
_NOT_LISTED = (
    *(".*", "*/.*", "trainer/*", "LICENSE*", CHECKSUMS_NAME),
    # Records, a map of a gallery and parts of one: written and read by themselves.
    *("training_run.json", "spread_run.json", "answers.json", "building.json", "map.safetensors", "*.partial.*"),
)


class Checksum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one file.

    Attributes:
        size: bytes.
        digest: of its content, hexadecimal.
    """

    size: int
    digest: str


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    """The content of `checksums.json`."""

    algorithm: Literal["xxh3_128"]
    files: dict[str, Checksum]


def file_checksum(path: str | os.PathLike) -> Checksum:
    """Size and digest of a file.

    Example:
    ```python
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "config.json"
    >>> _ = path.write_text("{}")
    >>> file_checksum(path)
    Checksum(size=2, digest='dc7048f8f8747f561349cde127705c16')
    ```
    """
    digest, size, block = xxhash.xxh3_128(), 0, bytearray(BLOCK_BYTES)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(memoryview(block)[:count])
            size += count
    return Checksum(size, digest.hexdigest())


def read_checksums(folder: Path) -> dict[str, Checksum] | None:
    """What a folder's `checksums.json` lists: file name -> its checksum; None where there is no such file.

    Raises:
        CheckpointError: the file is damaged, or of a later version.
    """
    path = folder / CHECKSUMS_NAME
    if not path.exists():
        return None
    content = read_json(path)
    try:
        stored = msgspec.convert(content, _Stored)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path} is damaged: {error}. {_todo(folder)}") from None
    for name in stored.files:
        inner_path(folder, name)
    return stored.files


def check(folder: Path) -> list[str]:
    """Compare the files of a folder with its `checksums.json`, if it has one.

    Files that are missing, and such of another size, are found before anything is read.

    Returns:
        The names of the files.

    Raises:
        CheckpointError: a file is missing, damaged or edited; names all of them.
    """
    checksums = read_checksums(folder) or {}
    wrong = [
        f"{name} {fault}" for name, one in checksums.items() if (fault := _fault(folder / name, folder, one.size))
    ]
    if not wrong:
        wrong = [
            f"{name} has another digest than it was saved with"
            for name, one in checksums.items()
            if file_checksum(folder / name) != one
        ]
    if wrong:
        raise CheckpointError(f"{folder} is damaged: {'; '.join(wrong)} ({CHECKSUMS_NAME}). {_todo(folder)}")
    return list(checksums)


def folders_inside(folder: Path) -> list[Path]:
    """The folders inside a folder that have a `checksums.json` of their own."""
    return [(folder / name).parent for name in file_names(folder) if name.endswith(f"/{CHECKSUMS_NAME}")]


def _fault(path: Path, folder: Path, size: int) -> str | None:
    """What is wrong with a file before it is read."""
    if not os.path.lexists(path):
        return "is missing"
    found = check_regular(path, folder).st_size
    return None if found == size else f"has {found:,} bytes instead of {size:,}"


def _todo(folder: Path) -> str:
    return (
        "Fetch or save it again. If you edited it yourself, renew the digests by "
        f"`cmr checksums {folder} --write`; verify=False loads it as it is."
    )


@contextmanager
def checked(folder: str | os.PathLike, verify: bool = True) -> Iterator[None]:
    """A block that reads a checkpoint or gallery: its files are checked first, and nobody changes them meanwhile.

    Args:
        folder: of the files.
        verify: whether digests are compared.

    Raises:
        CheckpointError: a file is missing, damaged or edited.
    """
    with reading(folder):
        if verify:
            check(Path(folder))
        yield


@contextmanager
def saved(folder: str | os.PathLike, *, replaces: Sequence[str] = (), in_place: Sequence[str] = ()) -> Iterator[Path]:
    """A block that saves a checkpoint or gallery: `atomic_folder` with the digests of what was written.

    What is listed of the folder's other files stays.

    Args:
        folder: receives the files.
        replaces: as for [`~cmr_hub.utils.files.atomic_folder`].
        in_place: names of files that are in the folder already and are listed from now on.
    """
    folder = Path(folder)

    def write(scratch: Path, removed: Collection[str]) -> list[str]:
        listed = _still_there(folder, removed)
        new = {name: file_checksum(folder / name) for name in in_place if name not in listed}
        _write(scratch / CHECKSUMS_NAME, {**listed, **new, **_checksums(scratch)})
        return [CHECKSUMS_NAME]

    with atomic_folder(folder, replaces=replaces, before_commit=write) as scratch:
        yield scratch


def write_checksums(folder: str | os.PathLike, *, every_file: bool = False) -> list[str]:
    """List the files of a folder anew, as they are now.

    Args:
        folder: of the files.
        every_file: list those too that loading a checkpoint does not read, such as the state of an optimiser, and
            have all of them on disk before the list is.

    Returns:
        Their names.
    """
    folder = Path(folder)
    with reading(folder):
        names = file_names(folder)
        if every_file:
            flush(folder, names)
            checksums = {name: file_checksum(folder / name) for name in names if name != CHECKSUMS_NAME}
        else:
            checksums = _checksums(folder)
    with atomic_file(folder / CHECKSUMS_NAME) as scratch:
        _write(scratch, checksums)
    return list(checksums)


def _still_there(folder: Path, removed: Collection[str]) -> dict[str, Checksum]:
    """What is listed of files that a save leaves as they are; nothing where the list is damaged."""
    try:
        listed = read_checksums(folder) or {}
    except CheckpointError:
        return {}
    return {name: one for name, one in listed.items() if name not in removed and (folder / name).is_file()}


def _checksums(folder: Path) -> dict[str, Checksum]:
    names = file_names(folder)
    with_own = tuple(f"{inside.relative_to(folder).as_posix()}/" for inside in folders_inside(folder))
    listed = [name for name in names if _is_listed(name) and not name.startswith(with_own)]
    return {name: file_checksum(folder / name) for name in listed}


def _is_listed(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _LISTED) and not any(
        fnmatchcase(name, pattern) for pattern in _NOT_LISTED
    )


def _write(path: Path, checksums: Mapping[str, Checksum]) -> None:
    stored = _Stored("xxh3_128", dict(sorted(checksums.items())))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n")
