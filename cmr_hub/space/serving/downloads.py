"""Images by their public address, which tools of agents send: fetched from public hosts alone, and not without end."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path, PurePosixPath

import httpx
import safehttpx

from cmr_hub.errors import InputError
from cmr_hub.utils.images import MAX_BYTES

from ..services.received_files import new_folder, remove

MAX_ADDRESS = 2_000  # characters
MAX_REDIRECTS = 5
SECONDS = 30.0  # for all of it
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)


def is_address(value: object) -> bool:
    """Whether a value is written as the address of something on the web."""
    return isinstance(value, str) and _ADDRESS.match(value) is not None


async def download_public(address: str) -> Path:
    """Download an image into an upload folder of its own.

    Args:
        address: of a public host. Each redirection is checked as the first address is.

    Raises:
        InputError: the host is not public, does not give the file, or gives too much or too slowly.
    """
    folder = new_folder()
    try:
        async with asyncio.timeout(SECONDS):
            return await _download(address, folder)
    except InputError:
        remove(folder)
        raise
    except (TimeoutError, OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        remove(folder)
        raise _refusal(address) from error


async def _download(address: str, folder: Path) -> Path:
    for _ in range(MAX_REDIRECTS):
        url = httpx.URL(address)
        if not is_address(address) or len(address) > MAX_ADDRESS or not url.host:
            break
        transport = safehttpx.AsyncSecureTransport(await safehttpx.async_validate_url(url.host))
        async with (
            httpx.AsyncClient(transport=transport, timeout=SECONDS) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.has_redirect_location:
                address = str(url.join(answer.headers["location"]))
                continue
            if answer.status_code != 200:
                break
            return await _write(answer, folder / "download" / _file_name(url))
    raise _refusal(address)


async def _write(answer: httpx.Response, path: Path) -> Path:
    path.parent.mkdir()
    with path.open("wb") as file:
        async for block in answer.aiter_bytes():
            file.write(block)
            if file.tell() > MAX_BYTES:
                raise InputError(f"The image has more than {MAX_BYTES >> 20} MiB. Save it smaller.")
    return path


def _file_name(url: httpx.URL) -> str:
    name = "".join(letter for letter in PurePosixPath(url.path).name if letter.isalnum() or letter in "-_. ")
    return name.strip(". ")[:100] or "image"


def _refusal(address: str) -> InputError:
    return InputError(f"{address[:200]!r} gives no image: a public address of an image is needed. Upload the image.")
