"""Fetching from official sources: resumable, checked, with progress, and never half done.

A data set's folder in the cache appears only when it is whole: files are gathered in `<name>.partial` beside it, which
survives an interruption and is renamed at the end.
"""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import datasets
import httpx2
import huggingface_hub
from filelock import FileLock
from tqdm.auto import tqdm

from cmr_hub.errors import DatasetError, DownloadError
from cmr_hub.utils.files import cache_folder

from .base import DatasetInfo, ProgressCallback
from .paths import unsafe_reason

logger = logging.getLogger(__name__)

ATTEMPTS = 4  # each goes on where the one before broke off
PAUSE = 0.5  # seconds before the second attempt, doubled for each further one
CHUNK = 1 << 18
MAX_FILES = 100_000  # of one archive
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)


def cached(info: DatasetInfo) -> Path:
    """The data set's folder in the cache; it exists exactly when its download is complete."""
    return cache_folder("data", info.name)


def source_of(info: DatasetInfo) -> str:
    """The base address that a data set is fetched from: `$CMR_HUB_MIRROR_<NAME>`, or its official source."""
    return _mirror_of(info) or info.source


def address_of(info: DatasetInfo, url: str) -> str:
    """Where a file of an official address is fetched from: the file of its name at `$CMR_HUB_MIRROR_<NAME>`, or there.

    For data sets whose files lie in several places, so that one base address does not say it.
    """
    mirror = _mirror_of(info)
    return f"{mirror.rstrip('/')}/{url.rpartition('/')[2]}" if mirror else url


def _mirror_of(info: DatasetInfo) -> str | None:
    return os.environ.get(f"CMR_HUB_MIRROR_{info.name.upper().replace('-', '_')}")


def fetch_once(
    info: DatasetInfo, fill: Callable[[Path, ProgressCallback | None], None], progress: ProgressCallback | None = None
) -> Path:
    """The data set's folder in the cache, downloaded first where it is not there yet.

    Args:
        info: the data set.
        fill: downloads everything into the folder that it is given, keeping what is already complete in it.
        progress: handed to `fill`.

    Raises:
        DownloadError: the source cannot be reached or sent something else than expected. What has arrived is kept,
            and the next call goes on from there.
        DatasetError: what arrived is not laid out as it should be.
    """
    folder = cached(info)
    if folder.is_dir():
        return folder
    if huggingface_hub.is_offline_mode() or datasets.config.HF_DATASETS_OFFLINE:
        raise unreachable(info, "offline mode is on (HF_HUB_OFFLINE or HF_DATASETS_OFFLINE).")
    try:
        return make_once(folder, lambda partial: fill(partial, progress))
    except DownloadError as error:
        raise unreachable(info, str(error)) from error
    except DatasetError as error:
        partial = folder.with_name(f"{folder.name}.partial")
        raise DatasetError(f"{error} What arrived is kept; delete {partial} to fetch it anew.") from error


def make_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """`folder`, filled first where it is not there yet; it appears only when it is whole.

    Args:
        fill: fills the folder that it is given, keeping what is already complete in it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):  # two processes may ask at the same time
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.partial")
            partial.mkdir(exist_ok=True)
            fill(partial)
            os.replace(partial, folder)
    return folder


def at_hand(info: DatasetInfo, folder: Path | None) -> Path:
    """The folder that was given, or else the one in the cache, of a data set that has no address to be fetched from.

    Raises:
        DownloadError: none was given, and none was put into the cache.
    """
    folder = folder or cached(info)
    if not folder.is_dir():
        raise unreachable(info, "it has to be fetched by hand.")
    return folder


def unreachable(info: DatasetInfo, reason: str) -> DownloadError:
    """The one error for data that are neither here nor to be had: what to fetch, from where, and where to put it."""
    return DownloadError(
        f"The data set {info.name!r} ({info.title}) is not on this machine and could not be downloaded: {reason} "
        f"To do it by hand: {info.how_to_get} Then load it with data_dir=<that folder>, or put the folder at "
        f"{cached(info)}. A later call resumes a download that broke off."
    )


def open_client() -> httpx2.Client:
    """An HTTP client for [`download_file`]; it may be shared between threads."""
    return httpx2.Client(timeout=30.0, follow_redirects=True)


def download_file(
    client: httpx2.Client,
    url: str,
    path: Path,
    max_bytes: int,
    on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
) -> None:
    """Download `url` to `path`, which appears only when it is complete; a file that is there is left as it is.

    The bytes gather in `<path>.part`. An interrupted download, in this call or an earlier one, goes on from there with
    an HTTP range request; a server that ignores ranges makes it start again.

    Args:
        client: from [`open_client`].
        max_bytes: more than this is refused.
        on_bytes: called with the bytes that are there and the total (None where the server does not tell it).

    Raises:
        DownloadError: the address cannot be reached, answers with an error, or sends another length than announced.
    """
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(ATTEMPTS):
        try:
            _fetch_rest(client, url, path, max_bytes, on_bytes)
            return
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            if status not in RETRIED_STATUS or attempt == ATTEMPTS - 1:
                raise DownloadError(f"{url} answered {status} {error.response.reason_phrase}.") from error
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.TooManyRedirects) as error:
            if attempt == ATTEMPTS - 1 or not isinstance(error, httpx2.TransportError):
                raise DownloadError(f"{url} cannot be read: {error or type(error).__name__}.") from error
        logger.info("Download of %s broke off; attempt %d of %d follows.", url, attempt + 2, ATTEMPTS)
        time.sleep(PAUSE * 2**attempt)


def fetch_zip(
    client: httpx2.Client,
    url: str,
    folder: Path,
    max_bytes: int,
    wanted: Callable[[str], bool] = lambda name: True,
    progress: ProgressCallback | None = None,
    max_files: int = MAX_FILES,
) -> None:
    """Download a ZIP archive, extract it into `folder` and remove it; one that was extracted before is left alone.

    Of several archives an interruption thus costs none that is done: what remains of each is an empty file
    `<archive>.unpacked`.

    Args:
        max_bytes: more than this is refused, of the archive and of what it unpacks to.
        wanted: of an entry's path, whether it is extracted.
        max_files: an archive of more is refused.

    Raises:
        DownloadError: see [`download_file`] and [`extract_zip`].
    """
    _fetch_archive(extract_zip, client, url, folder, max_bytes, max_files, wanted, progress)


def fetch_tar(
    client: httpx2.Client,
    url: str,
    folder: Path,
    max_bytes: int,
    wanted: Callable[[str], bool] = lambda name: True,
    progress: ProgressCallback | None = None,
    max_files: int = MAX_FILES,
) -> None:
    """The same as [`fetch_zip`], of a TAR archive compressed by gzip."""
    _fetch_archive(extract_tar, client, url, folder, max_bytes, max_files, wanted, progress)


def _fetch_archive(
    extract: Callable[..., None],
    client: httpx2.Client,
    url: str,
    folder: Path,
    max_bytes: int,
    max_files: int,
    wanted: Callable[[str], bool],
    progress: ProgressCallback | None,
) -> None:
    archive = folder / url.rpartition("/")[2]
    done = archive.with_name(f"{archive.name}.unpacked")
    if not done.is_file():
        with stepwise(f"Downloading {archive.name}", "B", progress) as at:
            download_file(client, url, archive, max_bytes, at)
        extract(archive, folder, max_bytes, max_files, wanted, progress)
        done.touch()
    archive.unlink(missing_ok=True)


def _fetch_rest(
    client: httpx2.Client, url: str, path: Path, max_bytes: int, on_bytes: Callable[[int, int | None], None]
) -> None:
    part = path.with_name(path.name + ".part")
    start = part.stat().st_size if part.is_file() else 0
    # "identity": with compression on the way the announced length would not be that of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with client.stream("GET", url, headers=headers) as response:
        at, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes ").rpartition("/")
        if response.status_code == 416 and whole == str(start):  # nothing follows: the part is the whole file
            os.replace(part, path)
            return
        resumes = response.status_code == 206 and at.startswith(f"{start}-")
        if response.status_code in (206, 416) and not resumes:
            part.unlink(missing_ok=True)
            raise httpx2.ReadError("the file changed at its source")
        response.raise_for_status()
        done = start if resumes else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdigit() else None
        _refuse_beyond(max_bytes, total or 0, url)
        with part.open("ab" if resumes else "wb") as file:
            for chunk in response.iter_raw(CHUNK):
                file.write(chunk)
                done += len(chunk)
                _refuse_beyond(max_bytes, done, url)
                on_bytes(done, total)
    os.replace(part, path)


def _refuse_beyond(max_bytes: int, size: int, url: str) -> None:
    if size > max_bytes:
        raise DownloadError(f"{url} is larger than the {max_bytes:,} bytes expected at most.")


@contextmanager
def stepwise(
    message: str, unit: str, progress: ProgressCallback | None
) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on the terminal that also tells `progress`; yields `at(done, total)`."""
    with tqdm(desc=message, unit=unit, unit_scale=unit == "B") as bar:

        def at(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if progress is not None:
                progress(min(done / total, 1.0) if total else 0.0, message)

        yield at


def extract_zip(
    archive: Path,
    folder: Path,
    max_bytes: int,
    max_files: int = MAX_FILES,
    wanted: Callable[[str], bool] = lambda name: True,
    progress: ProgressCallback | None = None,
) -> None:
    """Extract a ZIP archive that came from outside; every byte is checked against the archive's CRC sums.

    Nothing is written before all entries are found harmless: relative paths without "..", plain files and folders,
    not encrypted, at most `max_files` entries of at most `max_bytes` together (what an entry unpacks to beyond its
    declared size is never read). Of them those are written whose path is `wanted`.

    Raises:
        DownloadError: the archive is damaged or not harmless. It is deleted, so that the next attempt fetches it anew.
    """
    try:
        with zipfile.ZipFile(archive) as opened, stepwise(f"Extracting {archive.name}", " files", progress) as at:
            entries = opened.infolist()
            _refuse_harmful(entries, max_bytes, max_files)
            entries = [entry for entry in entries if wanted(entry.filename)]
            for done, entry in enumerate(entries, start=1):
                if entry.is_dir():
                    (folder / entry.filename).mkdir(parents=True, exist_ok=True)
                else:
                    with opened.open(entry) as source:
                        _write(source, folder / entry.filename)
                at(done, len(entries))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _refused(archive, error) from error


def extract_tar(
    archive: Path,
    folder: Path,
    max_bytes: int,
    max_files: int = MAX_FILES,
    wanted: Callable[[str], bool] = lambda name: True,
    progress: ProgressCallback | None = None,
) -> None:
    """Extract a TAR archive, compressed by gzip, that came from outside; see [`extract_zip`].

    It is read twice, since a TAR archive has no table of what is in it: once to find all entries harmless and its sum
    right, once to write.

    Raises:
        DownloadError: the archive is damaged or not harmless. It is deleted, so that the next attempt fetches it anew.
    """
    try:
        with tarfile.open(archive, "r:gz") as opened, stepwise(f"Extracting {archive.name}", " files", progress) as at:
            entries = [entry for entry in _harmless(opened, max_bytes, max_files) if wanted(entry.name)]
            for done, entry in enumerate(entries, start=1):
                if entry.isdir():
                    (folder / entry.name).mkdir(parents=True, exist_ok=True)
                else:
                    _write(cast(IO[bytes], opened.extractfile(entry)), folder / entry.name)
                at(done, len(entries))
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise _refused(archive, error) from error


def _harmless(opened: tarfile.TarFile, max_bytes: int, max_files: int) -> list[tarfile.TarInfo]:
    """All entries; the archive has been read to its end, and so against its sum, when they are returned."""
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
    return entries


def _write(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(source, file)


def _refused(archive: Path, error: Exception) -> DownloadError:
    archive.unlink()
    return DownloadError(f"{archive.name} is damaged or not safe: {error}. It was deleted.")


def _refuse_harmful(entries: list[zipfile.ZipInfo], max_bytes: int, max_files: int) -> None:
    if len(entries) > max_files:
        raise zipfile.BadZipFile(f"it has {len(entries):,} entries, {max_files:,} are expected at most")
    size = sum(entry.file_size for entry in entries)
    if size > max_bytes:
        raise zipfile.BadZipFile(f"it would unpack to {size:,} bytes, {max_bytes:,} are expected at most")
    for entry in entries:
        if reason := _harm(entry):
            raise zipfile.BadZipFile(f"in its entry {entry.orig_filename!r}, {reason}")


def _harm(entry: zipfile.ZipInfo) -> str | None:
    if reason := unsafe_reason(entry.orig_filename):
        return f"the path is not safe: {reason}"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "there is a link or a device"
    if entry.flag_bits & 1:
        return "the content is encrypted"
    return None
