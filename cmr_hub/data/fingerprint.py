"""Digests of the splits of a data set, which identify it without reading its image files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict

from .content import ContentDigest
from .image_cells import ImageFiles


def fingerprint(dataset: DatasetDict) -> dict[str, str]:
    """Split -> number of pairs, and a digest of their content.

    Images that are files count by name and size, not by folder or bytes: a data set may move, and is not read whole.

    Example:
    ```python
    >>> from datasets import Dataset, DatasetDict
    >>> fingerprint(DatasetDict(train=Dataset.from_dict({"id": ["a", "b"]})))
    {'train': '2 pairs, xxh3_128 a1f32596ec0233735c51ee9d4d033740'}
    ```
    """
    return {str(name): f"{len(split)} pairs, xxh3_128 {_digest(split)}" for name, split in dataset.items()}


def _digest(split: Dataset) -> str:
    digest = _DigestOfNames()
    digest.add(split)
    return digest.hexdigest()


class _DigestOfNames(ContentDigest):
    """A [`ContentDigest`] of the names and sizes of image files instead of their bytes."""

    def _add_images(self, name: str, column: pa.StructArray, files: ImageFiles) -> None:
        for stored, path in zip(pc.struct_field(column, "bytes"), pc.struct_field(column, "path"), strict=True):
            content = stored.as_buffer() if stored.is_valid else _name_and_size(path.as_py())
            self._digests[name].update(content)
            self._digests[name].update(len(content).to_bytes(8, "little"))


def _name_and_size(path: str | None) -> bytes:
    if path is None:
        return b"no image"
    file = Path(path)
    return f"{file.name} {file.stat().st_size if file.is_file() else 'missing'}".encode()
