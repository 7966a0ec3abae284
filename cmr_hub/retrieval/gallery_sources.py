"""Where the items of a big gallery come from, read piece by piece: Parquet files, a folder of images, a data set."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, Features, Image, Value, concatenate_datasets

from cmr_hub.data import load_dataset
from cmr_hub.data.folder import TABLES
from cmr_hub.errors import InputError

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
READ_ROWS = 256  # of a Parquet file at once


class Source(ABC):
    """`n` items in a fixed order, of which any piece can be had; pieces in a row cost no second reading.

    Attributes:
        features: the columns, as `datasets` types them.
    """

    features: Features

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, start: int, stop: int) -> Dataset:
        """Items `start` to `stop`, with images undecoded."""

    @abstractmethod
    def ids(self) -> Sequence[str]:
        """All ids, in order."""

    def digest(self) -> str:
        """Of what it is: another source, or the same grown or shuffled, has another."""
        digest = hashlib.sha256()
        for item in self.ids():
            digest.update(item.encode() + b"\0")
        return digest.hexdigest()[:16]


class DatasetSource(Source):
    """A data set in memory or mapped from disk."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset if "id" in dataset.column_names else _with_ids(dataset, 0)
        self.features = self.dataset.features

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, start: int, stop: int) -> Dataset:
        return self.dataset.select(range(start, stop))

    def ids(self) -> Sequence[str]:
        return self.dataset["id"][:]


class ParquetSource(Source):
    """Parquet files, streamed: no more than a few hundred rows are in memory.

    Args:
        paths: of files with the same columns; their rows follow one another. A column `image` of structs with
            `bytes` and `path`, or of paths, is taken for images. Without a column `id` the row's number is the id.

    Raises:
        InputError: there are no files, one cannot be read, or one has other columns than the first.
    """

    def __init__(self, paths: Sequence[Path]):
        self._groups: list[tuple[Path, int, int]] = []  # file, row group, number of its first row
        if not paths:
            raise InputError("The list of Parquet files is empty: give at least one.")
        with _opened(paths[0]) as first:
            schema = first.schema_arrow
        rows = 0
        for path in paths:
            with _opened(path) as file:
                if file.schema_arrow.names != schema.names:
                    raise InputError(f"{path} has the columns {file.schema_arrow.names}, {paths[0]} {schema.names}.")
                for group in range(file.num_row_groups):
                    self._groups.append((path, group, rows))
                    rows += file.metadata.row_group(group).num_rows
        self._paths, self._rows = paths, rows
        self._has_ids = "id" in schema.names
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
        while sum(map(len, tables)) < self._next - start:
            tables.append(next(self._stream))
        rows = pa.concat_tables(tables)
        self._ahead = [rows[self._next - start :]]
        piece = _typed(rows[: self._next - start])
        return piece if self._has_ids else _with_ids(piece, start)

    def ids(self) -> Sequence[str]:
        if not self._has_ids:
            return [str(row) for row in range(self._rows)]
        return [
            str(value)
            for path in self._paths
            for value in pq.read_table(path, columns=["id"]).column("id").to_pylist()
        ]

    def _tables(self, start: int) -> Iterator[pa.Table]:
        """Rows from `start` on, a few at a time."""
        later = [place for place in self._groups if place[2] > start]
        first = self._groups[len(self._groups) - len(later) - 1 :]
        for path, group, row in first:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(READ_ROWS, row_groups=[group]):
                    if row + len(batch) > start:
                        yield pa.Table.from_batches([batch.slice(max(0, start - row))])
                    row += len(batch)


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}.") from error


def _typed(table: pa.Table) -> Dataset:
    """A data set whose images are known as such, with what a Parquet file says of the columns, if it does."""
    dataset = Dataset(table)
    kind = dataset.features.get("image")
    is_record = isinstance(kind, dict) and {"bytes", "path"} <= set(kind)
    if is_record or (isinstance(kind, Value) and kind.dtype in ("string", "large_string")):
        dataset = dataset.cast_column("image", Image())
    if "id" in dataset.column_names and dataset.features["id"] != Value("string"):
        dataset = dataset.cast_column("id", Value("string"))
    return dataset


def _with_ids(dataset: Dataset, first: int) -> Dataset:
    return dataset.add_column("id", [str(row) for row in range(first, first + len(dataset))])


def open_source(source: Source | Dataset | DatasetDict | str | os.PathLike | Sequence[str | os.PathLike]) -> Source:
    """What `Gallery.build` reads from.

    Args:
        source: a [`Source`], a data set (of a `DatasetDict` all splits), Parquet files, or a folder: of Parquet files,
            of images with a `metadata.csv` (see `cmr_hub.data.folder`), or of images alone, in depth.

    Raises:
        InputError: there is nothing of this kind.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, Dataset):
        return DatasetSource(source)
    if isinstance(source, DatasetDict):
        return DatasetSource(concatenate_datasets(list(source.values())))
    if not isinstance(source, str | os.PathLike):
        return ParquetSource([Path(path) for path in source])
    folder = Path(source)
    if folder.is_file():
        return ParquetSource([folder])
    if not folder.is_dir():
        raise InputError(f"{folder} is no file and no folder: give Parquet files or a folder of them or of images.")
    if any((folder / name).is_file() for name in TABLES):
        return open_source(load_dataset("folder", folder))
    if shards := sorted(folder.glob("*.parquet")):
        return ParquetSource(shards)
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES)
    if not images:
        raise InputError(f"{folder} has no Parquet files and no images ({', '.join(IMAGES)}).")
    columns = {"id": [str(path.relative_to(folder)) for path in images], "image": [str(path) for path in images]}
    return DatasetSource(Dataset.from_dict(columns, Features({"id": Value("string"), "image": Image()})))
