"""Image columns of data sets, read undecoded. Only files that the caller vouches for are opened.

A cell is a record `{"bytes", "path"}`: the content of an image file, or the path of one. Whoever writes a Parquet file
writes its paths, so a path proves nothing: it may name a private file, or a URL.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from datasets import ClassLabel, Dataset, Features, Image, LargeList, List, Value

from cmr_hub.errors import ImageRootError, InputError
from cmr_hub.utils.images import read_image_file

Cell = Mapping[str, Any]


@dataclass(frozen=True)
class ImageFiles:
    """Which files the cells of an image column may name.

    Attributes:
        root: the folder in which all of them must be, links resolved.
        is_trusted: any local file, since the caller's own code made the data set.

    Example:
    ```python
    >>> from cmr_hub.data import load_dataset
    >>> ImageFiles.of(load_dataset("emoji")["test"]).is_trusted
    True
    ```
    """

    root: Path | None = None
    is_trusted: bool = False

    @classmethod
    def of(cls, dataset: Dataset, image_root: str | os.PathLike | None = None) -> Self:
        """Return which files a data set's cells may name.

        A data set in memory (`Dataset.from_dict`, every loader of `cmr_hub.data`) was made by the caller's own code
        and may name any local file. One that is mapped from disk (`datasets.load_dataset`, `Dataset.from_parquet`,
        `load_from_disk`) has cells that somebody else may have written: it may name files in `image_root` only.

        Args:
            dataset: any data set.
            image_root: the folder in which files must be, of either kind of data set.

        Raises:
            InputError: there is no folder `image_root`.
        """
        if image_root is not None:
            return cls.of_folder(image_root)
        return cls(is_trusted=not dataset.cache_files and dataset.info.builder_name is None)

    @classmethod
    def of_folder(cls, image_root: str | os.PathLike) -> Self:
        """Return that cells may name the files in one folder.

        Raises:
            InputError: there is no such folder.
        """
        root = Path(image_root).expanduser().resolve()
        if not root.is_dir():
            raise InputError(f"There is no folder {os.fspath(image_root)!r}: image_root is the folder of image files.")
        return cls(root)

    def check(self, cell: Cell | None) -> Cell | None:
        """Return a cell that may be given to `load_image`; a path in it is absolute.

        Args:
            cell: what an undecoded image column holds; None where an item has no image.

        Raises:
            ImageRootError: the cell has no bytes, and files may be named only in a folder that the caller names.
            InputError: there is no such file in the folder.
        """
        if cell is None or cell["bytes"] is not None or cell["path"] is None:
            return cell
        path = cell["path"]
        if self.is_trusted:
            return cell
        if self.root is None:
            raise ImageRootError(
                f"the data set does not hold the image, but names the file {path[:200]!r}. Such files are opened only "
                "from a folder that you name: pass image_root to the function of Gallery, or make the data set "
                "your own by cmr_hub.data.image_cells.resolve_images(dataset, image_root)."
            )
        try:
            resolved = Path(os.path.realpath(self.root / path))
            is_inside = resolved.is_relative_to(self.root) and resolved.is_file()
        except (OSError, ValueError):  # a name too long, or with a NUL
            is_inside = False
        if not is_inside:
            raise InputError(
                f"the data set names the file {path[:200]!r}, and there is no such file in {self.root}. Put the image "
                "there, or name the folder that it is in as image_root."
            )
        return {"bytes": None, "path": str(resolved)}

    def store(self, cells: pa.ChunkedArray, *, copy: bool) -> pa.Array:
        """Return a column of cells as a file holds it.

        Args:
            cells: `n` structs of `bytes` and `path`.
            copy: put the content of image files into the cells; otherwise absolute paths.

        Raises:
            InputError: a file may not be opened, or is no image; the message names the row.
        """
        stored = []
        for row, cell in enumerate(cells.to_pylist()):
            try:
                stored.append(self._stored(cell, copy))
            except InputError as error:
                raise type(error)(f"image {row + 1} of {len(cells)}: {error}") from error
        return pa.array(stored, Image.pa_type)

    def _stored(self, cell: Cell | None, copy: bool) -> Cell | None:
        cell = self.check(cell)
        if cell is None or cell["path"] is None:
            return cell
        if cell["bytes"] is None and not copy:
            return {"bytes": None, "path": os.path.abspath(cell["path"])}
        content = read_image_file(cell["path"]) if cell["bytes"] is None else cell["bytes"]
        return {"bytes": content, "path": os.path.basename(cell["path"])}


def undecoded(dataset: Dataset, column: str = "image") -> Dataset:
    """Return one column of a data set, with cells as records; nothing is opened.

    Example:
    ```python
    >>> from cmr_hub.data import load_dataset
    >>> sorted(undecoded(load_dataset("emoji")["test"])[0]["image"])
    ['bytes', 'path']
    ```
    """
    return dataset.select_columns(column).cast_column(column, Image(decode=False))


def read_images(dataset: Dataset, column: str = "image", *, files: ImageFiles | None = None) -> Sequence[Cell | None]:
    """Return all cells of an image column, ready for `encode_images`.

    Args:
        dataset: `n` items.
        column: its column of images.
        files: which files its cells may name; by default as [`ImageFiles.of`] says.

    Raises:
        InputError: a cell names a file that may not be opened; the message names the row.
    """
    cells, files = undecoded(dataset, column)[column][:], files or ImageFiles.of(dataset)
    if files.is_trusted:
        return cells
    checked = []
    for row, cell in enumerate(cells):
        try:
            checked.append(files.check(cell))
        except InputError as error:
            raise type(error)(f"image {row + 1} of {len(cells)}: {error}") from error
    return checked


def resolve_images(dataset: Dataset, image_root: str | os.PathLike, column: str = "image") -> Dataset:
    """Make a data set from elsewhere one's own: check that all files that its images name are in one folder.

    Args:
        dataset: as `datasets.load_dataset` gives it.
        image_root: the folder in which the files must be. Relative paths start from it.
        column: the column of images.

    Returns:
        The same rows in memory, with absolute paths.

    Raises:
        InputError: a file is not in the folder; the message names the row.
    """
    files = ImageFiles.of(dataset, image_root)
    features = Features({**dataset.features, column: Image()})
    table = dataset.with_format("arrow")[:]
    checked = pa.array(read_images(dataset, column, files=files), Image.pa_type)
    table = table.set_column(table.column_names.index(column), column, checked)
    return Dataset(table.replace_schema_metadata(features.arrow_schema.metadata))


def plain_features(schema: pa.Schema) -> Features:
    """Return the types of the columns of a file from elsewhere, such that reading them opens nothing.

    Parquet files may say of any column that it is of images, sounds, videos or documents, which `datasets` opens when
    a row is read. Of what a file says only class names and undecoded images are taken over.

    Args:
        schema: of the file.

    Raises:
        InputError: what the file says of its columns cannot be read.

    Example:
    ```python
    >>> schema = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog"])}).arrow_schema
    >>> plain_features(schema)
    {'image': Image(mode=None, decode=False), 'label': ClassLabel(names=['cat', 'dog'])}
    ```
    """
    try:
        stored, said = Features.from_arrow_schema(schema.remove_metadata()), Features.from_arrow_schema(schema)
    except Exception as error:  # of hostile metadata the parsing raises whatever it runs into
        raise InputError(f"the types of the columns {', '.join(schema.names)} cannot be read: {error!r}.") from error
    return Features({name: _plain(kind) or stored[name] for name, kind in said.items()})


def _plain(kind: Any) -> Any | None:
    """The type itself, or of images the undecoded one; None where reading such a column could open something."""
    if isinstance(kind, Image):
        return Image(decode=False)
    is_plain = isinstance(kind, Value | ClassLabel)
    if isinstance(kind, List | LargeList):
        is_plain = isinstance(kind.feature, Value | ClassLabel)
    return kind if is_plain else None
