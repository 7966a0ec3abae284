"""Digests of the content of items: ids, texts, labels, features and the bytes of images."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from datasets import ClassLabel, Dataset, Features, Image

from cmr_hub.errors import InputError
from cmr_hub.utils.images import read_file

from .image_cells import ImageFiles

BATCH_ROWS = 1024


class ContentDigest:
    """A running digest of items: the same whether they are added at once or piece by piece.

    Items are the same if all columns are, whatever their order: ids, texts, class names, numbers, and the bytes of
    images. The name of an image file counts only where the item is the path, and not a copy of the file.

    Args:
        files: which files images without bytes may name; by default as [`ImageFiles.of`] says of the items. Others are
            not opened.
        with_paths: whether the paths of images without bytes count too.

    Example:
    ```python
    >>> from datasets import Dataset
    >>> items = Dataset.from_dict({"id": ["a", "b"], "texts": [["one"], ["two", "three"]]})
    >>> whole, pieces = ContentDigest(), ContentDigest()
    >>> whole.add(items)
    >>> for row in range(2):
    ...     pieces.add(items.select([row]))
    >>> whole.hexdigest() == pieces.hexdigest()
    True
    ```
    """

    def __init__(self, files: ImageFiles | None = None, *, with_paths: bool = False):
        self.files, self.with_paths = files, with_paths
        self.rows = 0
        self._digests: defaultdict[str, Any] = defaultdict(xxhash.xxh3_128)

    def add(self, items: Dataset) -> None:
        """Take in some more items, with the columns of those before."""
        self.rows += len(items)
        files = self.files or ImageFiles.of(items)
        for start in range(0, len(items), BATCH_ROWS):
            table = items.with_format("arrow")[start : start + BATCH_ROWS]
            for name, kind in items.features.items():
                column = pa.chunked_array(table.column(name)).combine_chunks()
                if isinstance(kind, Image):
                    self._add_images(name, column, files)
                else:
                    self._add_values(name, column)
        for name, names in _class_names(items.features).items():
            self._digests[f"{name} classes"] = xxhash.xxh3_128("\0".join(names).encode())

    def hexdigest(self) -> str:
        """32 hexadecimal digits: of the same items always the same."""
        parts = sorted((name, digest.hexdigest()) for name, digest in self._digests.items())
        return xxhash.xxh3_128(repr((self.rows, parts)).encode()).hexdigest()

    def _add_images(self, name: str, column: pa.StructArray, files: ImageFiles) -> None:
        digest = self._digests[name]
        for stored, path in zip(pc.struct_field(column, "bytes"), pc.struct_field(column, "path"), strict=True):
            if stored.is_valid:
                content = stored.as_buffer()
            else:
                content = _file_content(path.as_py(), files)
                digest.update(f"path {path}\0".encode() if self.with_paths else b"")
            digest.update(content)
            digest.update(len(content).to_bytes(8, "little"))

    def _add_values(self, name: str, column: pa.Array) -> None:
        """Take in the values of a column: lengths and contents apart, so that pieces make no difference."""
        kind = column.type
        if isinstance(kind, pa.BaseExtensionType):
            return self._add_values(name, column.storage)
        if pa.types.is_dictionary(kind):
            return self._add_values(name, column.dictionary_decode())
        self._digests[f"{name} valid"].update(column.is_valid().to_numpy(zero_copy_only=False).tobytes())
        if pa.types.is_struct(kind):
            for field, values in zip(kind, column.flatten(), strict=True):
                self._add_values(f"{name}.{field.name}", values)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            self._add_numbers(f"{name} lengths", pc.list_value_length(column).cast(pa.int64()))
            self._add_values(f"{name}[]", column.flatten())
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
            values = column.cast(pa.large_binary()).fill_null(b"")
            self._add_numbers(f"{name} lengths", pc.binary_length(values))
            _, ends, content = values.buffers()
            places = np.frombuffer(ends, np.int64)[values.offset : values.offset + len(values) + 1]
            if content is not None:
                self._digests[name].update(memoryview(content)[places[0] : places[-1]])
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            self._add_numbers(name, column)
        else:
            self._digests[name].update("".join(f"{value!r}\0" for value in column.to_pylist()).encode())

    def _add_numbers(self, name: str, column: pa.Array) -> None:
        filled = column.fill_null(False if pa.types.is_boolean(column.type) else 0) if column.null_count else column
        self._digests[name].update(np.ascontiguousarray(filled.to_numpy(zero_copy_only=False)))


def content_digest(items: Dataset) -> str:
    """The [`ContentDigest`] of a data set.

    Example:
    ```python
    >>> from datasets import Dataset
    >>> content_digest(Dataset.from_dict({"id": ["a"]})) == content_digest(Dataset.from_dict({"id": ["b"]}))
    False
    ```
    """
    digest = ContentDigest()
    digest.add(items)
    return digest.hexdigest()


def _class_names(features: Features) -> dict[str, list[str]]:
    kinds = {name: getattr(kind, "feature", kind) for name, kind in features.items()}
    return {name: kind.names for name, kind in kinds.items() if isinstance(kind, ClassLabel)}


def _file_content(path: str | None, files: ImageFiles) -> bytes:
    """The bytes of an image file; of none, or of one that cannot be read or may not be opened, words that say so."""
    try:
        cell = files.check({"bytes": None, "path": path})
        return b"no image" if cell is None or cell["path"] is None else read_file(cell["path"])
    except InputError:
        return b"unreadable"
