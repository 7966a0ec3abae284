"""Extract archives: those that come from outside, of which every entry is checked first, and people's own."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from cmr_hub.errors import DownloadError, InputError
from cmr_hub.utils.full_disk import is_of_full_disk

from .base import ProgressCallback
from .image_folders import is_litter
from .paths import unsafe_reason
from .progress import stepwise

# What people's archives are called; `unpack` reads them.
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
CHUNK = 1 << 18
MAX_FILES = 100_000  # of one archive
UTF_8 = 0x800  # flag of an entry of a ZIP archive
DAMAGE = (
    zipfile.BadZipFile,
    NotImplementedError,  # a compression that zipfile does not know
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
)


@dataclass(frozen=True)
class Entry:
    """A file or folder in an archive.

    Attributes:
        name: its path in the archive.
        open: opens the file for reading; None for a folder.
    """

    name: str
    open: Callable[[], IO[bytes]] | None


def extract(
    archive: Path,
    folder: Path,
    max_bytes: int,
    max_files: int = MAX_FILES,
    wanted: Callable[[str], bool] = lambda name: True,
    progress: ProgressCallback | None = None,
) -> None:
    """Extract a ZIP archive or a TAR archive compressed by gzip; every byte is checked against the archive's CRC sums.

    Nothing is written before all entries are found harmless: relative paths without "..", plain files and folders,
    not encrypted, at most `max_files` entries of at most `max_bytes` together (what an entry unpacks to beyond its
    declared size is never read). A TAR archive has no table of contents and is read twice: once to check it, once to
    write.

    Args:
        archive: ending in `.zip`, or otherwise a TAR archive.
        folder: where its entries are written.
        max_bytes: more than this is refused.
        max_files: more than this is refused.
        wanted: of an entry's path, whether it is extracted.
        progress: called with the share that is done.

    Raises:
        DownloadError: the archive is damaged or not harmless. It is deleted with what was extracted from it, so that
            the next attempt fetches it anew.
    """
    written: list[Path] = []
    try:
        with (
            _entries(archive, max_bytes, max_files) as entries,
            stepwise(f"Extracting {archive.name}", " files", progress) as at,
        ):
            entries = [entry for entry in entries if wanted(entry.name)]
            for done, entry in enumerate(entries, start=1):
                if entry.open is not None:
                    written.append(folder / entry.name)
                _write(entry, folder / entry.name)
                at(done, len(entries))
    except DAMAGE as error:
        for path in written:  # another version of the archive may lack it
            path.unlink(missing_ok=True)
        archive.unlink()
        raise DownloadError(f"{archive.name} is damaged or not safe: {error}. It was deleted.") from error


def unpack(archive: Path, folder: Path) -> Path:
    """Extract a person's own archive, as the system that packed it meant it.

    Only plain files are extracted: no links, nothing hidden, and nothing that systems leave (see
    [`~cmr_hub.data.image_folders.is_litter`]). The archive stays.

    Args:
        archive: of one of the [`SUFFIXES`].
        folder: an empty one, that receives the files.

    Returns:
        The folder with the files: `folder`, or the one that all of them are packed in.

    Raises:
        InputError: the archive is damaged, encrypted, needs more room than there is, or has a path out of itself.
    """
    try:
        with _files(archive) as files:
            left = shutil.disk_usage(folder).free
            for name, size, read in files:
                left -= size
                if is_litter(name):
                    continue
                if reason := unsafe_reason(name):
                    raise InputError(f"{archive}: the path {name!r} is refused, {reason}.")
                if left < 0:
                    raise InputError(f"{archive} unpacks to more than there is room for in {folder.parent}.")
                _write(Entry(name, read), folder / name)
    except (*DAMAGE, RuntimeError, OSError) as error:  # where a password is needed; bz2's damage, or names too long
        if is_of_full_disk(error):
            raise
        if isinstance(error, OSError) and error.filename:
            path = os.path.relpath(error.filename, folder)
            reason, todo = f"{error.strerror}: {path:.200}", "Pack it again, that file under another name"
        else:  # tarfile lists what it tried
            reason, todo = str(error).partition(":\n")[0], "Pack it again, without a password"
        raise InputError(f"{archive} cannot be unpacked: {reason}. {todo}.") from error
    while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir():
        folder = inside[0]
    return folder


def zip_name(entry: zipfile.ZipInfo) -> str:
    """The path of an entry of a ZIP archive, with "/" between names, as its packer meant it.

    macOS does not mark names as UTF-8, and old .NET writes backslashes.

    Example:
    ```python
    >>> zip_name(zipfile.ZipInfo("caf├⌐.png"))  # as the bytes of UTF-8 look that are not marked
    'café.png'
    ```
    """
    name = entry.filename
    if not entry.flag_bits & UTF_8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


@contextmanager
def _files(archive: Path) -> Iterator[Iterator[tuple[str, int, Callable[[], IO[bytes]]]]]:
    """Path, size and opener of each plain file of a person's archive."""
    if archive.suffix.lower() == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            yield (
                (zip_name(entry), entry.file_size, partial(zipped.open, entry))
                for entry in zipped.infolist()
                if not entry.is_dir() and stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG)
            )
    else:
        with tarfile.open(archive) as tarred:
            read = cast(Callable[[tarfile.TarInfo], IO[bytes]], tarred.extractfile)  # of a file never None
            yield (
                (str(PurePosixPath(entry.name)), entry.size, partial(read, entry))
                for entry in tarred
                if entry.isfile() and not entry.sparse
            )


@contextmanager
def _entries(archive: Path, max_bytes: int, max_files: int) -> Iterator[list[Entry]]:
    """Open an archive and list its entries, once they are found harmless."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            yield _zip_entries(zipped, max_bytes, max_files)
    else:
        with tarfile.open(archive, "r:gz") as tarred:
            yield _tar_entries(tarred, max_bytes, max_files)


def _write(entry: Entry, target: Path) -> None:
    if entry.open is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with entry.open() as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


def _zip_entries(opened: zipfile.ZipFile, max_bytes: int, max_files: int) -> list[Entry]:
    """List the entries of a ZIP archive, or raise what is wrong with it."""
    entries = opened.infolist()
    if len(entries) > max_files:
        raise zipfile.BadZipFile(f"it has {len(entries):,} entries, {max_files:,} are expected at most")
    size = sum(entry.file_size for entry in entries)
    if size > max_bytes:
        raise zipfile.BadZipFile(f"it would unpack to {size:,} bytes, {max_bytes:,} are expected at most")
    for entry in entries:
        if reason := _harm(entry):
            raise zipfile.BadZipFile(f"in its entry {entry.orig_filename!r}, {reason}")
    return [Entry(entry.filename, None if entry.is_dir() else partial(opened.open, entry)) for entry in entries]


def _harm(entry: zipfile.ZipInfo) -> str | None:
    if reason := unsafe_reason(entry.orig_filename):
        return f"the path is not safe: {reason}"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "there is a link or a device"
    if entry.flag_bits & 1:
        return "the content is encrypted"
    return None


def _tar_entries(opened: tarfile.TarFile, max_bytes: int, max_files: int) -> list[Entry]:
    """List the entries of a TAR archive, read to its end, or raise what is wrong with it."""
    entries, size = [], 0
    for entry in opened:  # each is judged before what follows it is unpacked
        entries.append(entry)
        size += entry.size
        if len(entries) > max_files:
            raise tarfile.TarError(f"it has more than the {max_files:,} entries that are expected at most")
        if size > max_bytes:
            raise tarfile.TarError(f"it would unpack to more than the {max_bytes:,} bytes that are expected at most")
        if reason := unsafe_reason(entry.name):
            raise tarfile.TarError(f"in its entry {entry.name!r}, the path is not safe: {reason}")
        if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or entry.sparse:
            raise tarfile.TarError(f"in its entry {entry.name!r}, there is a link, a device or a file with holes")
    padding = opened.fileobj.read(CHUNK)  # to its end, where the sum is
    if len(padding) == CHUNK or any(padding):  # a damaged header ends an archive as well
        raise tarfile.TarError("it goes on behind its end")
    # tarfile returns None for what is neither a file nor a link, which was refused above.
    read = cast(Callable[[tarfile.TarInfo], IO[bytes]], opened.extractfile)
    return [Entry(entry.name, None if entry.isdir() else partial(read, entry)) for entry in entries]
