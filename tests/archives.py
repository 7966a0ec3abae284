"""Small archives in the layouts of official ones: path -> content, packed or laid out as if unpacked."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

Entries = Mapping[str, bytes | str]


def jpeg(red: int = 0, size: int = 8) -> bytes:
    """A picture in one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (red, 0, 0)).save(buffer, "jpeg")
    return buffer.getvalue()


def zip_of(entries: Entries) -> bytes:
    """A ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def lay_out(folder: Path, entries: Entries) -> Path:
    """The same as files in a folder."""
    for name, content in entries.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
