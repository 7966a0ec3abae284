"""What is embedded already in a folder: finished shards, and what an interrupted building left of others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from datasets import Dataset, Features
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cmr_hub.data.image_cells import plain_features
from cmr_hub.errors import InputError
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.files import atomic_file

from .gallery_files import EMBEDS, REAL_VALUED, read_embeds
from .gallery_layout import CONFIG_NAME, Content, ShardRecord, Unusable, contents_digest, shard_path

EMBEDDED = (*EMBEDS.values(), *REAL_VALUED.values())  # columns of a shard that are no columns of items
LEFT = ".partial.safetensors"
OPEN_FILES = 4  # whose embeddings are in memory: neighbours mostly come from one file

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Left:
    """Embeddings of the first items of a shard that is not written yet.

    Attributes:
        contents: of these items, those that cannot be used included.
        unusable: those that cannot be used.
        embeds: column -> rows of the others.
    """

    contents: Sequence[Content]
    unusable: Sequence[Unusable]
    embeds: Columns

    @property
    def record(self) -> ShardRecord:
        """What the shard will say of its items."""
        return ShardRecord(self.contents, self.unusable)

    def save(self, path: Path) -> None:
        """Write one file."""
        said = {key.decode(): value.decode() for key, value in self.record.as_metadata().items()}
        with atomic_file(path) as scratch:
            save_file(dict(self.embeds), scratch, {**said, "digest": _digest_of(self.embeds)})

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read what [`save`] wrote; None where it is damaged, or of an earlier version."""
        try:
            with safe_open(path, "numpy") as file:
                said = file.metadata()
                embeds = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
            if said["digest"] != _digest_of(embeds):
                return None
            contents = msgspec.json.decode(said["cmr_hub:contents"], type=list[Content])
            unusable = [Unusable(**one) for one in json.loads(said.get("cmr_hub:unusable", "[]"))]
        except (OSError, SafetensorError, LookupError, TypeError, ValueError):
            return None
        return cls(contents, unusable, embeds)


@dataclass(frozen=True)
class Place:
    """Where an item is stored: a row of a shard, or of what was left of one."""

    path: Path
    row: int


class EmbeddedBefore:
    """The items that a folder has embeddings of.

    Args:
        folder: of a gallery, or of the beginnings of one. Damaged shards are not there any more.

    Attributes:
        records: of each shard what it says of its items.
        finished: how many shards make up the gallery, where there is one already.
    """

    def __init__(self, folder: Path):
        self.records: dict[Path, ShardRecord] = {}
        self._places: dict[str, Place] = {}
        self._in_file: dict[Path, Sequence[Content]] = {}  # of what was left of shards, which may be written over
        config, self.folder = folder / CONFIG_NAME, folder
        self.finished = int(read_json(config).get("shards", 0)) if config.exists() else 0
        for path in sorted(folder.glob("items-*.parquet")):
            record = ShardRecord.of_shard(path)
            if record is None:
                raise InputError(
                    f"{path} does not say of which items it was made: give another folder, or remove this one."
                )
            self.records[path] = record
            self.add(path, record)
        for path in sorted(folder.glob(f"items-*{LEFT}")):
            if (left := Left.read(path)) is not None:
                self.add(path, left.record)
        self._columns = lru_cache(OPEN_FILES)(_read_columns)

    def add(self, path: Path, record: ShardRecord) -> None:
        """Take in what a file has now, a shard or what was left of one; what it had before counts no more."""
        for content in self._in_file.get(path, ()):
            if self._places.get(content.embedded, Place(path, 0)).path == path:
                self._places.pop(content.embedded, None)
        contents = record.usable
        for row, content in enumerate(contents):
            self._places.setdefault(content.embedded, Place(path, row))
        if path.name.endswith(LEFT):
            self._in_file[path] = contents

    def __contains__(self, digest: object) -> bool:
        """Whether there are embeddings of an item whose embedded content has this digest."""
        return digest in self._places

    def embeds(self, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """Column -> `(n, d)` embeddings of items by the digests of their embedded content."""
        places = [self._places[digest] for digest in digests]
        columns = {path: self._columns(path, self._digest(path)) for path in {place.path for place in places}}
        names = next(iter(columns.values())) if columns else {}
        return {name: np.stack([columns[place.path][name][place.row] for place in places]) for name in names}

    def _digest(self, path: Path) -> str | None:
        """Of what a file had when it was taken in, where it may have been written over since."""
        return contents_digest(self._in_file[path]) if path in self._in_file else None

    @property
    def known_files(self) -> dict[str, str]:
        """Digest of path, size and times of an image file -> digest of its bytes."""
        return {
            content.file: content.image
            for record in self.records.values()
            for content in record.contents
            if content.file
        }

    def items(self) -> dict[str, tuple[Place, Content]]:
        """Id -> place and content of the items of the gallery; of a building that is not finished none."""
        shards = [shard_path(self.folder, number) for number in range(self.finished)]
        return {
            content.id: (Place(path, row), content)
            for path in shards
            if path in self.records
            for row, content in enumerate(self.records[path].usable)
        }


def read_stored(places: Sequence[Place], features: Features) -> Dataset:
    """Items as shards have them, in the types of others.

    Args:
        places: of the items, in shards.
        features: the columns of the others.

    Raises:
        InputError: the shards have other columns, or other classes.
    """
    pieces = []
    for path, group in groupby(places, lambda place: place.path):
        schema = pq.read_schema(path)
        names = [name for name in schema.names if name not in EMBEDDED]
        stored = plain_features(schema)
        if set(names) != set(features) or any(
            _plain_type(stored[name]) != _plain_type(features[name]) for name in names
        ):
            raise InputError(
                f"The gallery has items that are not in the source, with the columns {', '.join(names)}; the source "
                f"has other ones ({', '.join(features)}), or other classes. Drop these items by "
                "remove_missing=True, or give another folder."
            )
        rows = pq.read_table(path, columns=list(features)).take([place.row for place in group])
        pieces.append(rows.replace_schema_metadata(None))
    table = pa.concat_tables(pieces).cast(features.arrow_schema)
    return Dataset(table.replace_schema_metadata(features.arrow_schema.metadata))


def _plain_type(kind: object) -> str:
    """A type without whether images are decoded."""
    return repr(kind).replace("decode=True", "decode=False")


def _read_columns(path: Path, digest: str | None) -> Columns:
    """The embeddings in a shard, or in what was left of one, of items with this digest."""
    if digest is not None:
        left = Left.read(path)
        if left is None or contents_digest(left.record.usable) != digest:
            raise InputError(f"{path} changed while it was read: build again.")
        return left.embeds
    names = [name for name in pq.read_schema(path).names if name in EMBEDDED]
    return {name: read_embeds(path, name) for name in names}


def _digest_of(arrays: Columns) -> str:
    """A digest of arrays, by which damage is found."""
    digest = xxhash.xxh3_128()
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
