"""Writing to disk so that nothing already saved is lost, nothing is half-written, and nobody reads a mixture.

A save goes into a scratch folder inside the target. One rename of the scratch folder to `.committed` decides that it
counts; after that its files are moved to their places, and the folder goes last. Whoever finds `.committed`, which a
process left that was killed in between, moves the rest: readers see all of the earlier save, or all of the new one.

Locks end with their process (`flock`). Readers share one on the folder itself while they read, which needs no right
to write, and whoever moves files holds it alone; a writer holds one on a file while it commits, so that writers take
turns. Where the file system has no locks, a save still survives a kill.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from cmr_hub.errors import CheckpointError, ConflictError, InputError, UnwritableError

from .checkpoint_files import MAX_JSON_BYTES, read_bytes
from .full_disk import FULL, naming_full_disk

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]

SCRATCH_PREFIX = ".writing-"  # of the folders of saves that go on, or were killed
COMMITTED = ".committed"  # of a save whose files are being moved
# The same as paths, for those who filter paths: in a folder, and in its subfolders.
SCRATCH_PATTERNS = tuple(above + name for above in ("", "*/") for name in (f"{SCRATCH_PREFIX}*", f"{COMMITTED}/*"))
_CHANGE = (
    f"{SCRATCH_PREFIX}change"  # a file that is there, and locked, while a process changes the folder step by step
)
_WRITER = f"{SCRATCH_PREFIX}lock"  # a file that is there, and locked, while a writer commits
_FILES, _ALIVE, _REMOVED = "files", "lock", "removed.json"  # in a scratch folder
_LOCK_FILE = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # a link could lead out of the folder
# Of a file system that has no locks, or no such lock for this user.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL, errno.EBADF, errno.EACCES, errno.EPERM)


class _Reads(threading.local):
    """The folders that this thread reads, which it must not wait for."""

    def __init__(self) -> None:
        self.reads: set[Path] = set()

    @contextmanager
    def noted(self, folder: Path) -> Iterator[None]:
        path = folder.resolve()
        self.reads.add(path)
        try:
            yield
        finally:
            self.reads.remove(path)


_this_thread = _Reads()


@contextmanager
def atomic_folder(
    folder: str | os.PathLike,
    *,
    replaces: Sequence[str] = (),
    before_commit: Callable[[Path, Collection[str]], Iterable[str]] | None = None,
) -> Iterator[Path]:
    """A scratch folder inside `folder`, whose files replace those of `folder` only when the block ends well.

    Every file is complete on disk before one rename commits them all. A full disk, an error, an interrupt or a kill
    before it leaves `folder` as it was; after it the next reader ([`reading`]) or writer finishes the save. Other
    files of `folder` stay.

    Args:
        folder: receives the files.
        replaces: patterns of names that the new files replace all together: files of `folder` that match and are not
            written again are removed with the same commit.
        before_commit: called with the scratch folder and the names of the files to be removed when all is written,
            while no other writer may change `folder`; returns the names of files that it adds to the scratch folder.

    Raises:
        CheckpointError: an earlier save in `folder` was interrupted and cannot be finished.
        InputError: the block that writes is in one that reads the same folder.
        UnwritableError: the folder cannot be made or written to.
        DiskFullError: the disk is full.

    Example:
    ```python
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "checkpoint"
    >>> with atomic_folder(target) as scratch:
    ...     _ = (scratch / "config.json").write_text("{}")
    >>> [path.name for path in target.iterdir()]
    ['config.json']
    ```
    """
    check_may_be_folder(folder)
    folder = Path(folder)
    if folder.resolve() in _this_thread.reads:
        raise InputError(f"{folder} cannot be written to while it is read: give another folder.")
    is_new = not folder.exists()
    with naming_full_disk(folder):
        make_folder(folder)
        if any(map(is_scratch, folder.parts)):  # a save within another, whose scratch folder nobody reads
            for name in _matching(folder, replaces):
                (folder / name).unlink()
            yield folder
            if before_commit is not None:
                before_commit(folder, ())
            return
        scratch = folder / f"{SCRATCH_PREFIX}{secrets.token_hex(4)}"
        files, alive = scratch / _FILES, None
        try:
            with _only_writer(folder):
                _finish(folder)
                _remove_leftovers(folder)
                make_folder(files)
                alive = _lock(scratch / _ALIVE, _LOCK_FILE)
            yield files
            written = file_names(files)
            flush(files, written)
            with _only_writer(folder):
                _finish(folder)
                removed = sorted(set(_matching(folder, replaces)) - set(written))
                if before_commit is not None:
                    flush(files, before_commit(files, removed))
                _commit(folder, scratch, removed)
        finally:
            _unlock(alive)
            shutil.rmtree(scratch, ignore_errors=True)
            if is_new:
                with suppress(OSError):  # not empty: the save was committed
                    folder.rmdir()


def check_may_be_folder(path: str | os.PathLike) -> None:
    """Refuse what no folder can be made of, before anything is computed that is to be saved there.

    Raises:
        UnwritableError: it is a file or leads through one, or is no name of a folder.

    Example:
    ```python
    >>> check_may_be_folder(__file__)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cmr_hub.errors.UnwritableError: ...files.py is a file, and a folder is to be written. Give another one.
    ```
    """
    if not os.fspath(path):
        raise UnwritableError("The name of the folder to write is empty: give one, or '.' for the current folder.")
    for nearest in (Path(path), *Path(path).absolute().parents):
        try:
            nearest.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:  # too long; a null byte
            reason = getattr(error, "strerror", None) or error
            raise UnwritableError(f"{os.fspath(path)!r:.200} is no name of a folder: {reason}.") from error
        if not nearest.is_dir():
            raise UnwritableError(f"{nearest} is a file, and a folder is to be written. Give another one.")
        return


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it, where it is not there.

    Raises:
        UnwritableError: it cannot be made, for another reason than a full disk.
    """
    check_may_be_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UnwritableError(f"{folder} cannot be made: {error.strerror}. Give another folder.") from error


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """A scratch path in the folder of `path` that replaces it only when the block ends well; see [`atomic_folder`]."""
    with atomic_folder(Path(path).parent) as scratch:
        yield scratch / Path(path).name


@contextmanager
def reading(folder: str | os.PathLike) -> Iterator[None]:
    """Finish a save in `folder` that was interrupted after its commit, and let nobody change it within the block.

    Raises:
        CheckpointError: the save cannot be finished, as in a folder that is read-only.
    """
    folder = Path(folder)
    if folder.resolve() in _this_thread.reads:  # a block within such a block
        yield
        return
    while True:
        with _locked(folder, is_shared=True):
            if not (folder / COMMITTED).is_dir():
                with _this_thread.noted(folder):
                    yield
                return
        _finish(folder)


@contextmanager
def changing(folder: str | os.PathLike) -> Iterator[None]:
    """A block that one process, and one thread of it, is in at a time: it changes a folder in several saves.

    Others can read the folder meanwhile. Where the file system has no locks nobody is refused.

    Raises:
        ConflictError: another is in such a block.
        UnwritableError: the folder may not be written to.
    """
    path = Path(folder) / _CHANGE
    with naming_full_disk(folder):
        while True:
            try:
                lock = _lock(path, _LOCK_FILE, waits=False)
            except BlockingIOError:
                raise ConflictError(
                    f"Another process is changing {folder}. Wait until it has ended, and do this again."
                ) from None
            except OSError as error:
                if error.errno in FULL:
                    raise
                raise UnwritableError(f"{folder} cannot be written to: {error.strerror}.") from error
            if lock is None or _is_open_at(path, lock):
                break
            _unlock(lock)  # of a file that the one before has removed
    try:
        yield
    finally:
        try:
            with suppress(OSError):
                path.unlink()
        finally:
            _unlock(lock)


def file_names(folder: Path) -> list[str]:
    """Names of the files in a folder, relative to it and sorted, without those of saves that are not finished."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_scratch(name)]
        found += [Path(parent, name) for name in names if not is_scratch(name)]
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())


def is_scratch(name: str) -> bool:
    """Whether a file or folder of this name belongs to a save that is not finished."""
    return name == COMMITTED or name.startswith(SCRATCH_PREFIX)


def _commit(folder: Path, scratch: Path, removed: Sequence[str]) -> None:
    """Make the files in `scratch` count; called by the only writer."""
    written = file_names(scratch / _FILES)
    for name in written:
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            raise CheckpointError(f"{folder / name} is a folder, and a file is saved there. Give another name.")
    if len(written) == 1 and not removed:  # one rename is all there is to do
        _move(folder, scratch / _FILES, written)
        return
    if removed:
        (scratch / _REMOVED).write_text(json.dumps(removed), encoding="utf-8")
        flush(scratch, [_REMOVED])
    os.rename(scratch, folder / COMMITTED)
    _flush_folder(folder)
    _finish(folder)


def _finish(folder: Path) -> None:
    """Move the files of a committed save, if there is one, when those who read have ended.

    Who comes to read meanwhile waits here too, so that new readers do not keep a writer waiting for ever.

    Raises:
        CheckpointError: the save cannot be finished.
    """
    committed = folder / COMMITTED
    if os.path.lexists(committed):
        with _locked(folder):
            if os.path.lexists(committed):  # nobody else has finished it
                if committed.is_symlink() or not committed.is_dir():
                    raise CheckpointError(f"{committed} is no folder that a save left. Remove it.")
                _move_committed(folder)


def _move_committed(folder: Path) -> None:
    committed = folder / COMMITTED
    try:
        record = committed / _REMOVED
        removed = json.loads(read_bytes(record, MAX_JSON_BYTES)) if os.path.lexists(record) else []
        written = file_names(committed / _FILES)
        _check_inside(folder, [*written, *removed, *(f"{COMMITTED}/{_FILES}/{name}" for name in written)])
        _move(folder, committed / _FILES, written)
        for name in removed:
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(committed)
    except CheckpointError:
        raise
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"A save in {folder} was interrupted and cannot be finished: {committed} holds files that have to be "
            f"moved ({reason}). Open {folder} once as a user who may write there."
        ) from error


def _move(folder: Path, source: Path, names: Iterable[str]) -> None:
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source / name, target)


def _check_inside(folder: Path, names: Iterable[str]) -> None:
    """Refuse names that lead out of a folder, by themselves or by a link: the folder may come from elsewhere."""
    inside = folder.resolve()
    for name in names:
        if not (inside / name).parent.resolve().is_relative_to(inside):
            raise ValueError(f"{name!r} leads out of the folder")


def _matching(folder: Path, patterns: Sequence[str]) -> list[str]:
    names = file_names(folder) if patterns else []
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _remove_leftovers(folder: Path) -> None:
    """Remove the scratch folders of processes that were killed; called by the only writer."""
    for path in folder.glob(f"{SCRATCH_PREFIX}*"):
        with suppress(OSError):  # its process is alive; it is no folder, or has no file of that name
            lock = None if path.is_symlink() else _lock(path / _ALIVE, _LOCK_FILE, waits=False)
            try:
                if lock is not None:
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                _unlock(lock)


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """A block that one writer of a folder is in at a time."""
    path = folder / _WRITER
    while True:
        try:
            lock = _lock(path, _LOCK_FILE)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EISDIR):
                raise
            raise CheckpointError(f"{path} is a link or folder, and a file is expected. Remove it.") from error
        if lock is None or _is_open_at(path, lock):
            break
        _unlock(lock)  # of a file that the writer before has removed
    try:
        yield
    finally:
        try:
            with suppress(OSError):
                path.unlink()
        finally:
            _unlock(lock)


def _is_open_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False


@contextmanager
def _locked(folder: Path, *, is_shared: bool = False) -> Iterator[None]:
    lock = _lock(folder, os.O_RDONLY, is_shared=is_shared)
    try:
        yield
    finally:
        _unlock(lock)


def _lock(path: Path, flags: int, *, is_shared: bool = False, waits: bool = True) -> int | None:
    """A lock on a file or folder as a file descriptor, which ends with the process; None where there are no locks.

    Each call has a lock of its own, so that threads exclude each other too.

    Raises:
        BlockingIOError: another holds it, and `waits` is not set.
    """
    if fcntl is None:
        return None
    descriptor = None
    try:
        descriptor = os.open(path, flags, 0o644)
        fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | (0 if waits else fcntl.LOCK_NB))
    except BaseException as error:
        if descriptor is not None:
            os.close(descriptor)
        if isinstance(error, OSError) and error.errno in _NO_LOCKS:
            return None
        raise
    return descriptor


def _unlock(lock: int | None) -> None:
    if lock is not None:
        fcntl.flock(lock, fcntl.LOCK_UN)  # a process that was forked meanwhile has the descriptor too
        os.close(lock)


def flush(folder: Path, names: Iterable[str]) -> None:
    """Have files on disk before they count, and readable to all: safetensors writes them for their owner only."""
    for name in names:
        (folder / name).chmod(0o644)
        with (folder / name).open("rb+") as file:
            os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Have a rename in a folder survive a power failure, where folders can be opened."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cache_folder(*parts: str) -> Path:
    """A folder for what can be made again: `$CMR_HUB_CACHE`, or `cmr_hub` beside the Hugging Face cache."""
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("CMR_HUB_CACHE", Path(HF_HOME) / "cmr_hub")).joinpath(*parts)
