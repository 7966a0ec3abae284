"""Digests of the files of a checkpoint, gallery or index: written by every save, compared by every load.

`checksums.json` lists what loading reads. Cards and licences, which people edit, and records of how the files were
made are not in it. A folder inside that has a `checksums.json` of its own checks itself.
"""

from __future__ import annotations

import os
import shlex
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import msgspec
import xxhash

from cmr_hub.errors import CheckpointError

from .checkpoint_files import MAX_JSON_BYTES, check_regular, inner_path, read_bytes
from .files import atomic_file, atomic_folder, file_names, flush, reading

CHECKSUMS_NAME = "checksums.json"
BLOCK_BYTES = 1 << 16  # read at once: they stay in a core's cache
COARSEST_CLOCK_NS = 2_000_000_000  # of file systems: two changes within it may have one time
_LISTED = ("*.json", "*.jsonl", "*.csv", "*.safetensors", "*.parquet", "*.yaml", "*.txt", "*.jinja")
_NOT_LISTED = (
    *(".*", "*/.*", "trainer/*", "LICENSE*", CHECKSUMS_NAME),
    # Records, a map of a gallery and parts of one: written and read by themselves.
    *("training_run.json", "spread_run.json", "answers.json", "building.json", "map.safetensors", "*.partial.*"),
    "unusable.csv",  # a list for people, who may sort it or throw it away
)

_compared: set[tuple[int | str, ...]] = set()  # states of files that this process has found to be as listed


class Checksum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size and digest of one file.

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
    return files_checksum([path])


def files_checksum(paths: Iterable[str | os.PathLike]) -> Checksum:
    """Size and digest of files as if they were one, each after the one before."""
    digest, size, block = xxhash.xxh3_128(), 0, bytearray(BLOCK_BYTES)
    for path in paths:
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
    if not os.path.lexists(path):
        return None
    try:
        return msgspec.json.decode(read_bytes(path, MAX_JSON_BYTES), type=_Stored).files
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. {_todo(folder)}") from None


def check(folder: Path) -> list[str]:
    """Compare the files of a folder with its `checksums.json`, if it has one.

    Missing files and files of another size are found before anything is read.

    Returns:
        The names of the files.

    Raises:
        CheckpointError: a file is missing, damaged or edited; names all of them.
    """
    checksums = read_checksums(folder) or {}
    found = {name: _fault(folder, name, checksum.size) for name, checksum in checksums.items()}
    faults = [f"{name} {fault}" for name, fault in found.items() if fault] or [
        f"{name} has another digest than it was saved with"
        for name, checksum in checksums.items()
        if not _is_as_listed(folder / name, checksum)
    ]
    if faults:
        raise CheckpointError(f"{folder} is damaged: {'; '.join(faults)} ({CHECKSUMS_NAME}). {_todo(folder)}")
    return list(checksums)


def _is_as_listed(path: Path, checksum: Checksum) -> bool:
    """Whether a file has its digest; what this process has compared and nobody has touched since is not read again."""
    found = os.stat(path)
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, checksum.digest)
    if state in _compared:
        return True
    if file_checksum(path) != checksum:
        return False
    if time.time_ns() - found.st_ctime_ns > COARSEST_CLOCK_NS:
        _compared.add(state)
    return True


def folders_inside(folder: Path) -> list[Path]:
    """The folders inside a folder that have a `checksums.json` of their own."""
    return [(folder / name).parent for name in file_names(folder) if name.endswith(f"/{CHECKSUMS_NAME}")]


def _fault(folder: Path, name: str, size: int) -> str | None:
    """What is wrong with a file before it is read."""
    is_nested = os.path.basename(name) != name
    path = inner_path(folder, name) if is_nested else folder / name
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return "is missing"
    if is_nested or not stat.S_ISREG(found.st_mode):  # a link may lead out of the folder
        found = check_regular(path, folder)
    return None if found.st_size == size else f"has {found.st_size:,} bytes instead of {size:,}"


def _todo(folder: Path) -> str:
    return (
        "Fetch or save it again. If you edited it yourself, renew the digests by "
        f"`cmr checksums {shlex.quote(str(folder))} --write`; verify=False loads it as it is."
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
