"""Where the items of a big gallery come from, read piece by piece: Parquet files, image files, a data set."""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, Features, Image, Value, concatenate_datasets

from cmr_hub.data import archives, load_dataset
from cmr_hub.data.folder import has_table
from cmr_hub.data.image_cells import ImageFiles, plain_features, undecoded
from cmr_hub.data.image_folders import find_images, is_image_name, is_litter
from cmr_hub.data.standard_columns import standardize, standardize_piece
from cmr_hub.errors import DatasetError, InputError
from cmr_hub.utils.images import SUFFIXES
from cmr_hub.utils.private_folder import PrivateFolder

READ_ROWS = 256  # of a Parquet file at once


class Source(ABC):
    """`n` items in a fixed order, of which any piece can be had; pieces in a row cost no second reading.

    Attributes:
        features: the columns, as `datasets` types them.
        image_files: which files image cells may name; of a subclass that does not say so any, as of data in memory.
    """

    features: Features
    image_files: ImageFiles = ImageFiles(is_trusted=True)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, start: int, stop: int) -> Dataset:
        """Items `start` to `stop`, with images undecoded."""

    def folder_of_images(self) -> Path | None:
        """The folder in which all files are that image cells name; None where they name none."""
        return self.image_files.root


class DatasetSource(Source):
    """A data set in memory or mapped from disk.

    Args:
        dataset: the items.
        image_root: the folder of the files that image cells name, as for [`ImageFiles.of`].
    """

    def __init__(self, dataset: Dataset, image_root: str | os.PathLike | None = None):
        self.dataset = standardize(dataset)
        self.features = self.dataset.features
        self.image_files = ImageFiles.of(dataset, image_root)

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, start: int, stop: int) -> Dataset:
        return self.dataset.select(range(start, stop))

    def folder_of_images(self) -> Path | None:
        if not self.image_files.is_trusted or "image" not in self.dataset.column_names:
            return self.image_files.root
        cells = undecoded(self.dataset)["image"]
        named = {os.path.dirname(os.path.abspath(cell["path"])) for cell in cells if cell and cell["bytes"] is None}
        return Path(os.path.commonpath(named)) if named else None


class ParquetSource(Source):
    """Parquet files, streamed: no more than a few hundred rows are in memory.

    Args:
        paths: of files with the same columns; their rows follow one another. A column `image` of structs with
            `bytes` and `path`, or of paths, is taken for images. Without a column `id` the row's number is the id.
        image_root: the folder in which files must be that image cells name; without it they may name none.

    Raises:
        InputError: a file cannot be read, or has other columns than the first.
    """

    def __init__(self, paths: Sequence[Path], image_root: str | os.PathLike | None = None):
        self.image_files = ImageFiles() if image_root is None else ImageFiles.of_folder(image_root)
        with _opened(paths[0]) as first:
            schema = first.schema_arrow
        self._starts: list[np.ndarray] = []  # of each file the number of each row group's first row
        rows = 0
        for path in paths:
            with _opened(path) as file:
                if file.schema_arrow.names != schema.names:
                    raise InputError(f"{path} has the columns {file.schema_arrow.names}, {paths[0]} {schema.names}.")
                sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            self._starts.append(rows + np.cumsum([0, *sizes]))
            rows += sum(sizes)
        self._paths, self._rows = paths, rows
        self._next = 0
        self._stream: Iterator[pa.Table] = iter(())
        self._ahead: list[pa.Table] = []  # read from the stream, but not asked for yet
        self.features = (self.read(0, 1) if rows else _typed(schema.empty_table())).features

    def __len__(self) -> int:
        return self._rows

    def read(self, start: int, stop: int) -> Dataset:
        if start != self._next or start == 0:
            self._stream, self._ahead = self._tables(start), []
        tables, self._next = self._ahead, min(stop, self._rows)
        lacking = self._next - start - sum(map(len, tables))
        while lacking > 0:
            tables.append(next(self._stream))
            lacking -= len(tables[-1])
        rows = pa.concat_tables(tables)
        self._ahead = [rows[self._next - start :]]
        return _typed(rows[: self._next - start], start)

    def _tables(self, start: int) -> Iterator[pa.Table]:
        """Rows from `start` on, a few at a time. Each file is opened once: what it says of itself may be long."""
        for path, starts in zip(self._paths, self._starts, strict=True):
            if start >= starts[-1]:
                continue
            first = max(0, int(np.searchsorted(starts, start, side="right")) - 1)
            row = starts[first]
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(READ_ROWS, row_groups=range(first, len(starts) - 1)):
                    if row + len(batch) > start:
                        yield pa.Table.from_batches([batch.slice(max(0, start - row))])
                    row += len(batch)


class ImageFilesSource(Source):
    """Image files without any text; their paths are the ids.

    Args:
        paths: of the files.
        root: the folder that ids start from, and in which the files must be, links resolved; by default the deepest
            one that all are in, and files may be anywhere.

    Attributes:
        paths: of the files, absolute.
    """

    features = Features({"id": Value("string"), "image": Image()})

    def __init__(self, paths: Sequence[Path], root: Path | None = None):
        self.paths = [path.absolute() for path in paths]
        self._start = Path(os.path.commonpath([path.parent for path in self.paths])) if root is None else root
        self._start = self._start.absolute()
        self.image_files = ImageFiles(is_trusted=True) if root is None else ImageFiles.of_folder(root)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, start: int, stop: int) -> Dataset:
        paths = self.paths[start:stop]
        ids = [os.fsencode(path.relative_to(self._start)).decode(errors="backslashreplace") for path in paths]
        return Dataset.from_dict({"id": ids, "image": [_cell(path) for path in paths]}, self.features)

    def folder_of_images(self) -> Path:
        return self._start


def _cell(path: Path) -> dict[str, str | bytes | None]:
    """The file of an image, or its content where Arrow cannot hold its name, which is not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return {"path": None, "bytes": path.read_bytes()}
    return {"path": str(path), "bytes": None}


class ArchiveSource(Source):
    """The files in an archive, unpacked into a temporary folder as long as this is in use.

    Args:
        path: of the archive.

    Raises:
        InputError: it cannot be unpacked, or has nothing that a gallery can be built from.
    """

    def __init__(self, path: Path):
        unpacked = PrivateFolder("cmr-archive-")
        weakref.finalize(self, unpacked.remove)
        folder = archives.unpack(path, unpacked.path)
        try:
            self._source = open_source(folder)
        except (DatasetError, InputError) as error:  # which names what is removed right away
            message = str(error).replace(f"{folder}{os.sep}", "").replace(str(folder), str(path))
            raise type(error)(f"{path}: {message}" if str(path) not in message else message) from error
        self.features, self.image_files = self._source.features, self._source.image_files

    def __len__(self) -> int:
        return len(self._source)

    def read(self, start: int, stop: int) -> Dataset:
        return self._source.read(start, stop)


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read as Parquet: {error}. A gallery is built from Parquet files, images, an archive of "
            f"images ({', '.join(archives.SUFFIXES)}) or a folder."
        ) from error


def _typed(table: pa.Table, first: int = 0) -> Dataset:
    """A data set whose columns are known as what they are; reading it decodes no image and opens no other file."""
    dataset = Dataset(table.replace_schema_metadata(plain_features(table.schema).arrow_schema.metadata))
    return standardize_piece(dataset, first)


def open_source(
    source: Source | Dataset | DatasetDict | str | os.PathLike | Sequence[str | os.PathLike],
    image_root: str | os.PathLike | None = None,
) -> Source:
    """What `Gallery.build` reads from.

    Args:
        source: a [`Source`], a data set (of a `DatasetDict` all splits), Parquet files, image files, an archive, or a
            folder: of Parquet files, of images with a `metadata.csv` (see `cmr_hub.data.folder`), or of images alone,
            in depth.
        image_root: the folder in which files must be that image cells of Parquet files or data sets name. Without it
            only data sets in memory may name files, and folders of images those in them.

    Raises:
        InputError: there is nothing of this kind, or no folder `image_root`.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, Dataset):
        return DatasetSource(source, image_root)
    if isinstance(source, DatasetDict):
        return DatasetSource(concatenate_datasets(list(source.values())), image_root)
    if isinstance(source, str | os.PathLike):
        path = Path(source).expanduser()
        return _open_folder(path, image_root) if path.is_dir() else _open_files([path], image_root)
    return _open_files([Path(path).expanduser() for path in source], image_root)


def _open_files(paths: Sequence[Path], image_root: str | os.PathLike | None) -> Source:
    if not paths:
        raise InputError("The list of files is empty: give at least one.")
    for path in paths:
        if not path.is_file():
            what = "a folder: give one alone" if path.is_dir() else "no file and no folder"
            raise InputError(f"{path} is {what}. Sources are Parquet files, images, an archive or a folder of them.")
    if len(paths) == 1 and paths[0].name.lower().endswith(archives.SUFFIXES):
        return ArchiveSource(paths[0])
    if all(is_image_name(path.name) for path in paths):
        return ImageFilesSource(paths)
    return ParquetSource(paths, image_root)


def _open_folder(folder: Path, image_root: str | os.PathLike | None) -> Source:
    if has_table(folder):
        return open_source(load_dataset("folder", folder), folder)
    if shards := sorted(path for path in folder.glob("*.parquet") if not is_litter(path.name)):
        return ParquetSource(shards, image_root)
    images = find_images(folder)
    if not images:
        raise InputError(f"{folder} has no Parquet files and no images ({', '.join(SUFFIXES)}).")
    return ImageFilesSource(images, folder)
