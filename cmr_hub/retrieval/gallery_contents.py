"""Digests of the items of a source, by which what was embedded before is found again, wherever it is now."""

from __future__ import annotations

from collections.abc import Collection, MutableMapping
from typing import Any

import pyarrow as pa
import xxhash
from datasets import ClassLabel, Dataset, Image

from cmr_hub.data.image_cells import Cell, ImageFiles
from cmr_hub.errors import InputError
from cmr_hub.utils.images import read_file

from .gallery_layout import Content, file_stamp


class ContentReader:
    """Reads what items are made of. Image files that have not changed since they were read before are not opened.

    Args:
        files: which files image cells may name. Others are not opened.
        embedded: names of the columns that the checkpoint reads.
        with_paths: whether the path of an image file is a part of the item, as where it is not copied.
        known: digest of path, size and times of an image file -> digest of its bytes; what is read is added.

    Example:
    ```python
    >>> items = Dataset.from_dict({"id": ["a", "b"], "texts": [["one"], ["one"]]})
    >>> first, second = ContentReader(ImageFiles(), ["texts"], with_paths=False).read(items)
    >>> first.embedded == second.embedded, first.item == second.item
    (True, False)
    ```
    """

    def __init__(
        self,
        files: ImageFiles,
        embedded: Collection[str],
        *,
        with_paths: bool,
        known: MutableMapping[str, str] | None = None,
    ):
        self.files, self.embedded, self.with_paths = files, set(embedded), with_paths
        self._known = {} if known is None else known

    def read(self, items: Dataset) -> list[Content]:
        """Return the content of each of some items."""
        table = items.with_format("arrow")[:]
        wholes = [xxhash.xxh3_64() for _ in range(len(items))]
        parts = [xxhash.xxh3_128() for _ in range(len(items))]
        images, stamps = [""] * len(items), [""] * len(items)
        for name, kind in sorted(items.features.items()):
            if isinstance(kind, Image):
                values = []
                for row, cell in enumerate(table.column(name).to_pylist()):
                    images[row], stamps[row] = self._image(cell)
                    values.append(images[row].encode())
                    if self.with_paths and cell is not None and cell["bytes"] is None:
                        wholes[row].update(f"path {cell['path']}\0".encode())
            else:
                values = _values(table.column(name), kind)
            for row, value in enumerate(values):
                entry = b"%s\0%d\0%s" % (name.encode(), len(value), value)
                wholes[row].update(entry)
                if name in self.embedded:
                    parts[row].update(entry)
        ids = table.column("id").to_pylist()
        return [
            Content(str(ids[row]), wholes[row].hexdigest(), parts[row].hexdigest(), images[row], stamps[row])
            for row in range(len(items))
        ]

    def _image(self, cell: Cell | None) -> tuple[str, str]:
        """The digests of an image's bytes, and of the path, size and times of its file."""
        if cell is None or (cell["bytes"] is None and cell["path"] is None):
            return "", ""
        if cell["bytes"] is not None:
            return xxhash.xxh3_128(cell["bytes"]).hexdigest(), ""
        stamp = ""
        try:
            checked = self.files.check(cell)
            path = cell["path"] if checked is None else checked["path"]
            stamp = file_stamp(path)
            if stamp in self._known:
                return self._known[stamp], stamp
            digest = xxhash.xxh3_128(read_file(path)).hexdigest()
        except (InputError, OSError):  # each such file by itself: nothing is known of what is in it
            return xxhash.xxh3_128(f"unreadable {cell['path']}".encode(errors="surrogateescape")).hexdigest(), stamp
        if stamp:
            self._known[stamp] = digest
        return digest, stamp


def _values(column: pa.ChunkedArray, kind: Any) -> list[bytes]:
    """What each row of a column holds: numbers as they are stored, class names, and anything else as text."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of no row
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    stored, label = array.type, getattr(kind, "feature", kind)
    if isinstance(label, ClassLabel):
        return [repr(_named(value, label)).encode() for value in array.to_pylist()]
    is_list = pa.types.is_list(stored) or pa.types.is_large_list(stored) or pa.types.is_fixed_size_list(stored)
    if is_list and (pa.types.is_integer(stored.value_type) or pa.types.is_floating(stored.value_type)):
        prefix = str(stored.value_type).encode()
        return [
            prefix + (cell.values.to_numpy(zero_copy_only=False).tobytes() if cell.is_valid else b"none")
            for cell in array
        ]
    return [repr(value).encode(errors="surrogatepass") for value in array.to_pylist()]


def _named(value: Any, label: ClassLabel) -> Any:
    """Class names in the place of numbers, which mean something else where classes are in another order."""
    if isinstance(value, list):
        return [_named(one, label) for one in value]
    return label.names[value] if isinstance(value, int) and 0 <= value < len(label.names) else value
