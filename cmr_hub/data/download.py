"""Download data sets from official sources: resumable, checked, with progress, and never half done.

A data set's folder in the cache appears only when it is whole: files are gathered in `<name>.partial` next to it,
which survives an interruption and is renamed at the end.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import httpx2
import huggingface_hub
from filelock import FileLock

from cmr_hub.errors import DatasetError, DownloadError
from cmr_hub.utils.addresses import without_credentials
from cmr_hub.utils.files import cache_folder

from .archives import MAX_FILES, extract
from .base import DatasetInfo, ProgressCallback
from .partial_files import FileVersion, PartialFile
from .progress import stepwise

logger = logging.getLogger(__name__)

ATTEMPTS = 4  # each goes on where the one before broke off
PAUSE = 0.5  # seconds before the second attempt, doubled for each further one
CHUNK = 1 << 18
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
    except OSError as error:  # as of a full disk
        raise unreachable(info, f"{error}.") from error


def make_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """`folder`, filled first where it is not there yet; it appears only when it is whole.

    Args:
        folder: the folder.
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

    The bytes gather in `<path>.part`, and `<path>.part.json` says to which version of the file they belong. An
    interrupted download, in this call or an earlier one, goes on from there with an HTTP range request if the source
    still has that version; otherwise, or where a source does not tell versions apart, it starts again.

    Args:
        client: from [`open_client`].
        url: address of the file; a user and a password in it are sent to its host alone, and never shown.
        path: the file on disk.
        max_bytes: more than this is refused.
        on_bytes: called with the bytes that are there and the total (None where the server does not tell it).

    Raises:
        DownloadError: the address cannot be reached, answers with an error, or sends other bytes than announced.
    """
    if path.is_file():
        return PartialFile(path).discard()  # of a process that was killed between its last two steps
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = without_credentials(url)
    for attempt in range(ATTEMPTS):
        try:
            _fetch_rest(client, url, path, max_bytes, on_bytes)
            return
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            if status not in RETRIED_STATUS or attempt == ATTEMPTS - 1:
                # The chained error would show the whole address.
                raise DownloadError(f"{shown} answered {status} {error.response.reason_phrase}.") from None
        except httpx2.InvalidURL:
            raise DownloadError(f"{shown} is not an address.") from None
        except (httpx2.TransportError, httpx2.TooManyRedirects) as error:
            if attempt == ATTEMPTS - 1 or not isinstance(error, httpx2.TransportError):
                raise DownloadError(f"{shown} cannot be read: {error or type(error).__name__}.") from error
        logger.info("Download of %s broke off; attempt %d of %d follows.", shown, attempt + 2, ATTEMPTS)
        time.sleep(PAUSE * 2**attempt)


def fetch_archive(
    client: httpx2.Client,
    url: str,
    folder: Path,
    max_bytes: int,
    wanted: Callable[[str], bool] = lambda name: True,
    progress: ProgressCallback | None = None,
    max_files: int = MAX_FILES,
) -> None:
    """Download an archive, extract it into `folder` and remove it; one that was extracted before is left alone.

    Of several archives an interruption thus costs none that is done: what remains of each is an empty file
    `<archive>.unpacked`.

    Args:
        client: from [`open_client`].
        url: of a ZIP archive, or of a TAR archive compressed by gzip.
        folder: where the archive is stored and extracted.
        max_bytes: more than this is refused, of the archive and of what it unpacks to.
        wanted: of an entry's path, whether it is extracted.
        progress: called with the share that is done of the download, then of the extraction.
        max_files: an archive of more is refused.

    Raises:
        DownloadError: see [`download_file`] and [`~cmr_hub.data.archives.extract`].
    """
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
    address = httpx2.URL(url)
    login = (address.username, address.password) if address.userinfo else None
    address = address.copy_with(username=None, password=None)  # httpx shows the rest in errors and logs
    shown = without_credentials(url)
    part = PartialFile(path)
    version = part.version(shown)
    if version is not None and part.size == version.size:  # an earlier run ended between its last byte and the end
        return part.finish(version)
    start = 0 if version is None else part.size
    # "identity": with compression on the way the announced length would not be that of the file.
    headers = {"Accept-Encoding": "identity"}
    if version is not None:
        headers |= {"Range": f"bytes={start}-", "If-Range": version.validator}
    with client.stream("GET", address, headers=headers, auth=login) as response:
        continues = response.status_code == 206 and version is not None and version.continues(response.headers, start)
        if response.status_code in (206, 412, 416) and not continues:
            part.discard()
            raise httpx2.ReadError("the file changed at its source")
        response.raise_for_status()
        if response.status_code not in (200, 206):  # 204 and the like come without the file
            raise DownloadError(f"{shown} answered {response.status_code} {response.reason_phrase}, without the file.")
        if version is None or not continues:
            version, start = FileVersion.of(shown, response.headers), 0
            part.begin(version)
        _refuse_beyond(max_bytes, version.size or 0, shown)
        done = start
        with part.data.open("ab") as file:
            for chunk in response.iter_raw(CHUNK):
                file.write(chunk)
                done += len(chunk)
                _refuse_beyond(max_bytes, done, shown)
                on_bytes(done, version.size)
    part.finish(version)


def _refuse_beyond(max_bytes: int, size: int, shown: str) -> None:
    if size > max_bytes:
        raise DownloadError(f"{shown} is larger than the {max_bytes:,} bytes expected at most.")
