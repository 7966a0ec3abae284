"""Files that are being downloaded: their first bytes on disk, and the version of the file that these belong to."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Self

import httpx2


@dataclass(frozen=True)
class FileVersion:
    """A version of a file at its source, identified by the headers of an answer (RFC 9110).

    Attributes:
        url: where it is, without credentials.
        etag: ETag, strong or weak; "" where there is none.
        modified: Last-Modified, unless that was the very second of the answer; otherwise "".
        size: of the whole file in bytes; None where the source does not give it.
        sha256: of the whole file in hexadecimal, where the source gives it; otherwise "".
    """

    url: str
    etag: str = ""
    modified: str = ""
    size: int | None = None
    sha256: str = ""

    @property
    def validator(self) -> str:
        """Value of `If-Range`; "" where the source sends nothing that identifies the version."""
        return self.etag if self._has_strong_etag else self.modified

    @property
    def _has_strong_etag(self) -> bool:
        return bool(self.etag) and not self.etag.startswith("W/")

    @classmethod
    def of(cls, url: str, headers: httpx2.Headers) -> Self:
        """The version that an answer has from its beginning."""
        etag, modified, length = (headers.get(name, "") for name in ("ETag", "Last-Modified", "Content-Length"))
        digests = headers.get("Repr-Digest") or headers.get("Digest") or ""
        sha256 = re.search(r"\bsha-256=:?([0-9A-Za-z+/]{43}=)", digests, re.IGNORECASE)
        return cls(
            url,
            etag,
            modified if _is_settled(modified, headers.get("Date", "")) else "",
            int(length) if length.isdigit() else None,
            base64.b64decode(sha256[1]).hex() if sha256 else "",
        )

    def continues(self, headers: httpx2.Headers, start: int) -> bool:
        """Whether an answer has the bytes of this version from `start` on."""
        first, _, size = headers.get("Content-Range", "").removeprefix("bytes ").rpartition("/")
        is_same = headers.get("ETag", "") == self.etag
        if not self._has_strong_etag:  # an equal weak one promises no equal bytes
            is_same = is_same and bool(self.modified) and headers.get("Last-Modified") == self.modified
        has_size = self.size is None or size in ("*", str(self.size))
        return is_same and has_size and first.startswith(f"{start}-")


def _is_settled(modified: str, now: str) -> bool:
    """Whether a time of modification identifies a version: it does not show another change in the same second."""
    try:
        return (parsedate_to_datetime(now) - parsedate_to_datetime(modified)).total_seconds() >= 1
    except (TypeError, ValueError):  # either is missing or no date
        return False


class PartialFile:
    """The first bytes of `path` in `<path>.part`, and their [`FileVersion`] in `<path>.part.json`.

    Example:
    ```python
    >>> import tempfile
    >>> part = PartialFile(Path(tempfile.mkdtemp()) / "data.zip")
    >>> part.begin(FileVersion("https://host.example/data.zip", etag='"1"', size=100))
    >>> with part.data.open("ab") as file:
    ...     _ = file.write(b"first bytes")
    >>> part.version("https://host.example/data.zip").validator, part.size
    ('"1"', 11)
    >>> part.version("https://mirror.example/data.zip") is None
    True
    ```
    """

    def __init__(self, path: Path):
        self.path = path
        self.data, self.record = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.data.stat().st_size if self.data.is_file() else 0

    def version(self, url: str) -> FileVersion | None:
        """The version that the bytes belong to; None where there are none that can be continued from this address."""
        try:
            version = FileVersion(**json.loads(self.record.read_text()))
        except (OSError, ValueError, TypeError):  # missing, or damaged
            return None
        is_usable = version.url == url and version.validator and 0 < self.size <= (version.size or self.size)
        return version if is_usable else None

    def begin(self, version: FileVersion) -> None:
        """Drop what is there, and take in the bytes of another version."""
        self.discard()
        scratch = self.record.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(version)))
        os.replace(scratch, self.record)
        self.data.touch()

    def discard(self) -> None:
        """Remove the bytes, and then the record: bytes are never next to the record of another version."""
        self.data.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)

    def finish(self, version: FileVersion) -> None:
        """Put the file in its place.

        Raises:
            httpx2.ReadError: it is not as long as its source announced, or has another digest, and was dropped.
        """
        if version.size is not None and self.size < version.size:
            raise httpx2.ReadError(f"it ended after {self.size:,} of {version.size:,} bytes")
        with self.data.open("rb+") as file:
            has_digest = not version.sha256 or hashlib.file_digest(file, "sha256").hexdigest() == version.sha256
            os.fsync(file.fileno())
        if not has_digest or version.size not in (None, self.size):
            self.discard()
            raise httpx2.ReadError("the source sent other bytes than it announced")
        os.replace(self.data, self.path)
        self.record.unlink(missing_ok=True)
