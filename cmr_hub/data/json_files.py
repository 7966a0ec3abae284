"""JSON files of a known layout, as large as annotations are: only what the layout names is ever made into objects."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TypeVar

import msgspec

from cmr_hub.errors import DatasetError

MAX_JSON_BYTES = 1 << 30  # COCO's largest file, instances_train2014.json, has 333 MB

T = TypeVar("T")


def read_json(path: Path, layout: type[T]) -> T:
    """A JSON file as an object of `layout`, a `msgspec.Struct`; fields that the layout does not name are passed over.

    Raises:
        DatasetError: it is too large, no JSON, or of another layout.
    """
    size = path.stat().st_size
    if not 0 < size <= MAX_JSON_BYTES:
        raise DatasetError(f"{path} has {size:,} bytes; between 1 and {MAX_JSON_BYTES:,} are expected.")
    try:
        # Mapped into memory: half a gigabyte of polygons is read past, never held.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return msgspec.json.decode(memoryview(content), type=layout)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{path} is not laid out as it should be: {error}. Fetch it anew.") from error
