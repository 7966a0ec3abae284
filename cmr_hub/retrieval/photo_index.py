"""Indexes of people's photo folders: where they are, and whether they are up to date. Nothing heavy is imported."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import msgspec

from cmr_hub.data.image_folders import is_image_name, walk_files
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.utils.checkpoint_files import MAX_JSON_BYTES, read_bytes, read_json
from cmr_hub.utils.checksums import CHECKSUMS_NAME, file_checksum
from cmr_hub.utils.files import atomic_file, cache_folder

from .gallery_layout import CONFIG_NAME, Content, ShardRecord, file_stamp, shard_path

DEFAULT_CHECKPOINT = "cmr/unified-flickr8k"
INDEX_NAME = "photo_index.json"
READERS = ("pillow_heif",)  # packages with which more images can be read


class PhotoIndex(msgspec.Struct, forbid_unknown_fields=True):
    """What an index says of the folder that it is of.

    Attributes:
        photos: the folder of the images, absolute.
        checkpoint: repo id or folder of the checkpoint.
        checkpoint_digest: of the checkpoint's files.
        readers: packages that read images and were installed.
    """

    photos: str
    checkpoint: str
    checkpoint_digest: str
    readers: list[str]

    @classmethod
    def of(cls, photos: Path, checkpoint: str) -> Self:
        """Return what an index would say that is made now."""
        return cls(
            str(photos),
            checkpoint,
            _digest_of_checkpoint(checkpoint),
            [name for name in READERS if find_spec(name) is not None],
        )

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read what an index says; None where the folder is no index.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = folder / INDEX_NAME
        if not os.path.lexists(path):
            return None
        try:
            return msgspec.json.decode(read_bytes(path, MAX_JSON_BYTES), type=cls)
        except msgspec.DecodeError as error:
            raise CheckpointError(f"{path} is damaged: {error}. Remove {folder}, and index again.") from None

    def write(self, folder: Path) -> None:
        """Write it into the folder of the index."""
        with atomic_file(folder / INDEX_NAME) as scratch:
            scratch.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


@dataclass(frozen=True)
class Photos:
    """The files of a folder.

    Attributes:
        folder: absolute, links resolved.
        images: the files that are images by their names, in order.
        others: suffix -> number of other files.
        unreadable: folders that may not be read, with the reason.
    """

    folder: Path
    images: Sequence[Path]
    others: Mapping[str, int]
    unreadable: Mapping[str, str]


def find_photos(folder: Path) -> Photos:
    """Look through a folder, in depth. Hidden files, those of systems and links to folders are left out.

    Raises:
        InputError: there is no such folder, or it has no images.
    """
    photos = check_photo_folder(folder)
    unreadable: dict[str, str] = {}
    images: list[Path] = []
    others: Counter[str] = Counter()
    for path in walk_files(photos, lambda error: unreadable.update({str(error.filename): str(error.strerror)})):
        if is_image_name(path.name):
            images.append(path)
        else:
            others[path.suffix.lower() or "no suffix"] += 1
    if not images:
        hint = f" {len(unreadable)} folders in it may not be read." if unreadable else ""
        raise InputError(
            f"{photos} has no images.{hint} Name a folder of images; if it is on another disk, check that it is there."
        )
    return Photos(photos, sorted(images), dict(others.most_common()), unreadable)


def check_photo_folder(folder: Path) -> Path:
    """Return the absolute path of a folder, links resolved.

    Raises:
        InputError: there is no such folder.
    """
    path = Path(os.path.realpath(folder.expanduser()))
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise InputError(f"{folder} {what}. Name the folder of your images.")
    return path


def index_folder(photos: Path) -> Path:
    """Where the index of a folder of images is stored, by the folder's path.

    Args:
        photos: absolute, links resolved.
    """
    name = re.sub(r"[^\w.-]+", "-", photos.name)[:40] or "photos"
    digest = hashlib.sha256(os.fsencode(photos)).hexdigest()[:12]
    return cache_folder("indexes") / f"{name}-{digest}"


def find_index(photos: Path) -> Path:
    """The index of a folder, or else of the nearest folder above it that has one.

    Raises:
        InputError: there is none; says which command makes one.
    """
    start = check_photo_folder(photos)
    for folder in (start, *start.parents):
        index = index_folder(folder)
        if (index / CONFIG_NAME).exists():
            return index
    raise InputError(f"{start} has no index yet. Make one: cmr index {shlex.quote(str(start))}")


def is_current(index: Path, photos: Photos, wanted: PhotoIndex) -> bool:
    """Whether an index has just the images of a folder, all as they are now.

    Files are compared by path, size and times. An index that was made with another checkpoint, or when fewer kinds of
    images could be read, is not current.

    Args:
        index: its folder.
        photos: the images now.
        wanted: what the index is to say of itself.
    """
    if not (index / CONFIG_NAME).exists() or PhotoIndex.read(index) != wanted:
        return False
    contents = read_contents(index)
    if contents is None or len(contents) != len(photos.images):
        return False
    parents: dict[str, str] = {}
    return all(
        content.id == item_id(path, photos.folder) and content.file == _stamp(path, parents)
        for path, content in zip(photos.images, contents, strict=True)
    )


def read_contents(index: Path) -> list[Content] | None:
    """What the items of an index are made of, those that cannot be used included; None where a shard does not say."""
    contents: list[Content] = []
    for number in range(int(read_json(index / CONFIG_NAME).get("shards", 0))):
        path = shard_path(index, number)
        record = ShardRecord.of_shard(path) if path.exists() else None
        if record is None:
            return None
        contents += record.contents
    return contents


def item_id(path: Path, photos: Path) -> str:
    """The id of an image: its path in the folder."""
    return os.fsencode(path.relative_to(photos)).decode(errors="backslashreplace")


def _stamp(path: Path, parents: dict[str, str]) -> str:
    """As `file_stamp` of the path without links; "" where there is no such file.

    Args:
        path: of an image.
        parents: of folders the path without links, as far as it is known.
    """
    parent, name = os.path.split(path)
    if parent not in parents:
        parents[parent] = os.path.realpath(parent)
    real = os.path.join(parents[parent], name)
    try:
        return file_stamp(os.path.realpath(real) if os.path.islink(real) else real) or "changed just now"
    except OSError:
        return ""


def _digest_of_checkpoint(checkpoint: str) -> str:
    from cmr_hub.utils.hub import resolve  # a search does without, and without huggingface_hub

    checksums = resolve(checkpoint) / CHECKSUMS_NAME
    return file_checksum(checksums).digest if checksums.exists() else ""
