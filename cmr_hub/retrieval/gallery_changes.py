"""Add items to galleries and remove some: what is to be added, brought into a gallery's form, and its files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features

from cmr_hub.errors import ConflictError, InputError
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import CHECKSUMS_NAME, file_checksum, saved
from cmr_hub.utils.files import changing
from cmr_hub.utils.messages import name_some

from .gallery_contents import ContentReader
from .gallery_embedding import ChunkEmbedder, joined
from .gallery_files import items_table, write_config, write_table
from .gallery_layout import (
    CONFIG_NAME,
    MAP_NAME,
    RECORD_NAME,
    SHARD_ROWS,
    Content,
    ShardRecord,
    same_images,
    shard_path,
)
from .gallery_sources import ImageFilesSource, Source, open_source
from .retriever import Retriever

CHUNK_ROWS = 256  # embedded at once


@dataclass(frozen=True)
class NewItems:
    """Items that are added to a gallery.

    Attributes:
        dataset: the items, with the gallery's columns.
        table: the same with embeddings, as a shard has them.
        embeds: column -> their embeddings.
        contents: what each is made of.
    """

    dataset: Dataset
    table: pa.Table
    embeds: Mapping[str, np.ndarray]
    contents: Sequence[Content]


def open_new(
    source: Source | Dataset | str | os.PathLike | Sequence[str | os.PathLike],
    image_root: str | os.PathLike | None,
    photos: Path | None,
) -> Source:
    """Open what is to be added to a gallery.

    Args:
        source: as for `Gallery.build`.
        image_root: the folder in which files must be that image cells name.
        photos: of a gallery that refers to image files, the folder of these; ids of image files are paths in it.

    Raises:
        InputError: there is nothing of this kind, or an image file is not in the folder.
    """
    opened = open_source(source, image_root)
    if photos is None or not isinstance(opened, ImageFilesSource):
        return opened
    paths = [Path(os.path.realpath(path)) for path in opened.paths]
    outside = [path for path in paths if not path.is_relative_to(photos)]
    if outside:
        raise InputError(f"{outside[0]} is not in {photos}, where the images of this gallery are. Put it there.")
    return ImageFilesSource(paths, photos)


def embed_new(
    source: Source, retriever: Retriever, features: Features, *, keep_real_valued: bool, copy_images: bool
) -> NewItems:
    """Embed items for a gallery.

    Args:
        source: the items; they have to fit in memory.
        retriever: the gallery's checkpoint.
        features: the columns of the gallery.
        keep_real_valued: also keep the values behind codes.
        copy_images: copy images; otherwise their paths are stored.

    Raises:
        InputError: an item cannot be used, or its classes are none of the gallery's.
    """
    embedder = ChunkEmbedder(
        retriever, list(source.features), source.image_files, keep_real_valued=keep_real_valued, strict=True
    )
    items, starts = source.read(0, len(source)), range(0, len(source), CHUNK_ROWS)
    reader = ContentReader(source.image_files, list(embedder.columns.values()), with_paths=not copy_images)
    contents, embeds = list[Content](), []
    for start in starts:
        chunk = items.select(range(start, min(start + CHUNK_ROWS, len(items))))
        contents += reader.read(chunk)
        embeds.append(embedder.embed(chunk).embeds)
    columns = joined(embeds)
    table = items_table(fitted(items, features), columns, copy_images=copy_images, image_files=source.image_files)
    stored = table.select(list(features)).cast(features.arrow_schema)
    stored = stored.replace_schema_metadata(features.arrow_schema.metadata)
    return NewItems(Dataset(stored), table, columns, contents)


def check_ids(new: Sequence[str], old: Collection[str]) -> None:
    """Refuse ids that are given twice, or that a gallery has already.

    Raises:
        InputError: names them.
    """
    taken = [item for item in new if item in old]
    twice = [item for item, count in Counter(new).items() if count > 1]
    if taken or twice:
        problem = "the gallery has already" if taken else "are given twice"
        raise InputError(
            f"The ids of a gallery's items must differ, and these {problem}: {name_some(map(repr, taken or twice))}. "
            "Nothing was added."
        )


def fitted(items: Dataset, features: Features) -> Dataset:
    """Items with the columns of a gallery: others are left out, and what is missing is empty.

    Raises:
        InputError: an item has a class that the gallery does not have.
    """
    table = items.with_format("arrow")[:]
    columns: dict[str, pa.Array] = {}
    for name, kind in features.items():
        wanted = kind.feature if hasattr(kind, "feature") else kind
        if name not in items.column_names:
            columns[name] = pa.nulls(len(items), features.arrow_schema.field(name).type)
        elif isinstance(wanted, ClassLabel):
            own = getattr(items.features[name], "feature", items.features[name])
            values = [_class_ids(value, own, wanted) for value in table.column(name).to_pylist()]
            columns[name] = pa.array(values, features.arrow_schema.field(name).type)
        else:
            columns[name] = table.column(name).cast(features.arrow_schema.field(name).type)
    made = pa.table(columns)
    return Dataset(made.replace_schema_metadata(features.arrow_schema.metadata))


def _class_ids(value: Any, own: Any, wanted: ClassLabel) -> Any:
    """The numbers that a gallery has for classes: of one, or of a list."""
    if isinstance(value, list):
        return [_class_ids(one, own, wanted) for one in value]
    if value is None or (isinstance(value, int) and value < 0):
        return value
    name = own.int2str(value) if isinstance(own, ClassLabel) else value
    if name not in wanted.names:
        raise InputError(
            f"An item has the class {name!r}, and the gallery has {name_some(wanted.names, 20)}: build the gallery "
            "anew with it. Nothing was added."
        )
    return wanted.names.index(name)


class GalleryFolder:
    """The files of a gallery that is open, which change with it.

    Args:
        path: of the folder.

    Attributes:
        copies_images: whether images are copied into the shards.
    """

    def __init__(self, path: Path):
        self.path = path
        record = path / RECORD_NAME
        self.copies_images = bool(read_json(record).get("keep_images", True)) if record.exists() else True
        self._state = self._now()

    def _now(self) -> str:
        """A digest of the files, by their checksums."""
        path = self.path / CHECKSUMS_NAME
        return file_checksum(path if path.exists() else self.path / CONFIG_NAME).digest

    def change(self, *, removed: Collection[int] = (), added: NewItems | None = None) -> None:
        """Remove rows, and add items behind the others; all or nothing of it is saved.

        Raises:
            ConflictError: another process is changing the gallery, or has changed it since it was opened.
            UnwritableError, DiskFullError: it cannot be written; it is as it was.
        """
        with changing(self.path):
            if self._now() != self._state:
                raise ConflictError(
                    f"The gallery in {self.path} was changed by another process since it was opened: open it again, "
                    "and do this again. Nothing was written."
                )
            self._write(set(removed), added)
            self._state = self._now()

    def duplicates(self, new: NewItems) -> list[tuple[str, ...]]:
        """Find new items whose images are those of others, byte for byte, as far as the shards say what theirs are."""
        paths = [shard_path(self.path, number) for number in range(self._shards)]
        records = [ShardRecord.of_shard(path) for path in paths]
        contents = [content for record in records if record is not None for content in record.usable]
        added = {content.id for content in new.contents}
        return [group for group in same_images([*contents, *new.contents]) if not added.isdisjoint(group)]

    @property
    def _shards(self) -> int:
        return int(read_json(self.path / CONFIG_NAME)["shards"])

    def _write(self, removed: set[int], added: NewItems | None) -> None:
        config, count, first = read_json(self.path / CONFIG_NAME), self._shards, 0
        with saved(self.path, replaces=(MAP_NAME,)) as scratch:
            rest = None if added is None else added.table
            contents = [] if added is None else list(added.contents)
            schema = pq.read_schema(shard_path(self.path, 0))
            has_records = ShardRecord.of_shard(shard_path(self.path, 0)) is not None
            for number in range(count):
                path = shard_path(self.path, number)
                rows = pq.read_metadata(path).num_rows
                gone = {row - first for row in removed if first <= row < first + rows}
                first += rows
                room = SHARD_ROWS - rows + len(gone) if number == count - 1 and rest is not None else 0
                if not gone and room <= 0:
                    continue
                table, record = pq.read_table(path), ShardRecord.of_shard(path)
                if gone:
                    table = table.take([row for row in range(rows) if row not in gone])
                    record = record and record.without(gone)
                if room > 0 and rest is not None:
                    table = _joined(table, rest[:room])
                    record = record and ShardRecord([*record.contents, *contents[:room]], record.unusable)
                    rest, contents = rest[room:], contents[room:]
                _write_shard(shard_path(scratch, number), table, schema, record)
            while rest is not None and len(rest):
                part = _joined(schema.empty_table(), rest[:SHARD_ROWS])
                record = ShardRecord(contents[:SHARD_ROWS]) if has_records else None
                _write_shard(shard_path(scratch, count), part, schema, record)
                rest, contents, count = rest[SHARD_ROWS:], contents[SHARD_ROWS:], count + 1
            write_config(scratch, {**config, "shards": count})


def _joined(table: pa.Table, more: pa.Table) -> pa.Table:
    """Rows under each other, in the types of the first."""
    plain = table.replace_schema_metadata(None)
    return pa.concat_tables([plain, more.select(table.column_names).replace_schema_metadata(None).cast(plain.schema)])


def _write_shard(path: Path, table: pa.Table, schema: pa.Schema, record: ShardRecord | None) -> None:
    features = {key: value for key, value in (schema.metadata or {}).items() if key == b"huggingface"}
    metadata = features | ({} if record is None else record.as_metadata())
    write_table(path, table.replace_schema_metadata(metadata))
