"""What the files of a gallery are called, and what its shards say of their items; reading it imports nothing heavy."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import msgspec
import pyarrow.parquet as pq
import xxhash

from cmr_hub.utils.checksums import COARSEST_CLOCK_NS
from cmr_hub.utils.messages import name_some

CONFIG_NAME = "gallery_config.json"
RECORD_NAME = "building.json"  # of a gallery that was built, or is being built
UNUSABLE_NAME = "unusable.csv"  # what was left out, for people
MAP_NAME = "map.safetensors"  # a layout of its items
RETRIEVER = "retriever"  # the folder of the checkpoint, where a gallery brings its own
SHARD_ROWS = 1024  # items per file
CONTENTS, UNUSABLE = b"cmr_hub:contents", b"cmr_hub:unusable"  # keys in a shard's metadata


def shard_path(folder: Path, number: int) -> Path:
    """Path of the items of one shard."""
    return folder / f"items-{number:05d}.parquet"


def shard_number(path: Path) -> int:
    """Number of the shard that a file is, or is a part of.

    Example:
    ```python
    >>> shard_number(Path("items-00012.partial.safetensors"))
    12
    ```
    """
    return int(path.name.removeprefix("items-").partition(".")[0])


class Content(msgspec.Struct, frozen=True, array_like=True):
    """What an item of a source is made of, as digests.

    Attributes:
        id: of the item.
        item: of all its columns, and of the path of its image where the gallery does not copy the file.
        embedded: of what the checkpoint reads of it: items that have the same one have the same embeddings.
        image: of the bytes of its image; "" where it has none.
        file: of the path, size and times of its image file, by which it is known without being read; "" where there
            is no file, or one that was changed a moment ago.
    """

    id: str
    item: str
    embedded: str
    image: str = ""
    file: str = ""


@dataclass(frozen=True)
class Unusable:
    """An item of a source that a gallery leaves out.

    Attributes:
        row: in its shard, counted in the source.
        id: of the item.
        reason: why it cannot be used.
    """

    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class ShardRecord:
    """What a shard says of the items of the source that it is made of.

    Attributes:
        contents: of each item, those that cannot be used included.
        unusable: those that the shard leaves out.
    """

    contents: Sequence[Content]
    unusable: Sequence[Unusable] = ()

    @classmethod
    def of_shard(cls, path: Path) -> Self | None:
        """Read the record of a shard; None where it has none, as of an earlier version or of a saved gallery."""
        metadata: Mapping[bytes, bytes] = pq.read_schema(path).metadata or {}
        try:
            contents = msgspec.json.decode(metadata[CONTENTS], type=list[Content])
            return cls(contents, [Unusable(**one) for one in json.loads(metadata.get(UNUSABLE, b"[]"))])
        except (KeyError, TypeError, ValueError):
            return None

    def as_metadata(self) -> dict[bytes, bytes]:
        """Return the entries in the metadata of a Parquet file."""
        metadata = {CONTENTS: msgspec.json.encode(self.contents)}
        if self.unusable:
            metadata[UNUSABLE] = json.dumps([asdict(item) for item in self.unusable]).encode()
        return metadata

    @property
    def usable(self) -> list[Content]:
        """The contents of the items that the shard has, row by row."""
        left_out = {item.row for item in self.unusable}
        return [content for row, content in enumerate(self.contents) if row not in left_out]

    def without(self, rows: set[int]) -> ShardRecord:
        """Return the record without some of the items that the shard has.

        Args:
            rows: of the shard.
        """
        left_out = {item.row: item for item in self.unusable}
        contents, unusable, row = list[Content](), list[Unusable](), 0
        for number, content in enumerate(self.contents):
            if number in left_out:
                old = left_out[number]
                unusable.append(Unusable(len(contents), old.id, old.reason))
            else:
                row += 1
                if row - 1 in rows:
                    continue
            contents.append(content)
        return ShardRecord(contents, unusable)


def file_stamp(path: str | os.PathLike) -> str:
    """A digest of the path, size and times of a file; "" of one that was changed within the last two seconds.

    Two changes within the resolution of a file system's clock would have one stamp.

    Raises:
        OSError: there is no such file.
    """
    found = os.stat(path)
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    if time.time_ns() - changed < COARSEST_CLOCK_NS:
        return ""
    said = (os.fspath(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return xxhash.xxh3_64(repr(said).encode(errors="surrogateescape")).hexdigest()


def contents_digest(contents: Sequence[Content]) -> str:
    """A digest of items in order."""
    return xxhash.xxh3_128("\0".join(content.item for content in contents).encode()).hexdigest()


def same_images(contents: Sequence[Content]) -> list[tuple[str, ...]]:
    """The ids of items whose images have the same bytes, in groups of two or more.

    Example:
    ```python
    >>> same_images([Content("a", "", "", "1"), Content("b", "", "", "2"), Content("c", "", "", "1")])
    [('a', 'c')]
    ```
    """
    groups: dict[str, list[str]] = {}
    for content in contents:
        if content.image:
            groups.setdefault(content.image, []).append(content.id)
    return [tuple(ids) for ids in groups.values() if len(ids) > 1]


def describe_duplicates(groups: Sequence[tuple[str, ...]]) -> str:
    """Say which images are the same.

    Example:
    ```python
    >>> describe_duplicates([("a.jpg", "b.jpg")])
    "1 image is the same as another, byte for byte: 'a.jpg' and 'b.jpg'."
    ```
    """
    count = sum(len(group) - 1 for group in groups)
    noun = "image is" if count == 1 else "images are"
    named = name_some((" and ".join(map(repr, group)) for group in groups), 5)
    return f"{count:,} {noun} the same as another, byte for byte: {named}."
