"""Indexes folders of photos: makes a gallery of their images, which stay where they are, and brings it up to date."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from cmr_hub.errors import InputError
from cmr_hub.utils.files import changing, make_folder

from .gallery_building import Building, Outcome
from .gallery_layout import CONFIG_NAME, RECORD_NAME, SHARD_ROWS
from .gallery_sources import ImageFilesSource
from .photo_index import INDEX_NAME, PhotoIndex, Photos
from .query_export import export_query_encoder
from .retriever import Retriever


@dataclass(frozen=True)
class IndexOptions:
    """How a folder is indexed.

    Attributes:
        keep_missing: keep images in the index that are no longer in the folder.
        rebuild: remove an index that is there, and embed everything anew.
    """

    keep_missing: bool = False
    rebuild: bool = False


def check_index_folder(index: Path, wanted: PhotoIndex, options: IndexOptions) -> None:
    """Refuse to write an index where something else is.

    Args:
        index: the folder to write.
        wanted: what the index is to say of itself.
        options: how it is made.

    Raises:
        InputError: the folder has other files, or the index of another folder or checkpoint.
    """
    there = PhotoIndex.read(index)
    if there is None:
        if index.is_dir() and any(path.name != INDEX_NAME for path in index.iterdir()):
            raise InputError(f"{index} has other files than those of an index. Give another folder.")
        return
    if there.photos != wanted.photos:
        raise InputError(f"{index} is the index of {there.photos}. Give another folder for that of {wanted.photos}.")
    if not options.rebuild and (index / RECORD_NAME).exists() and there.checkpoint != wanted.checkpoint:
        raise InputError(
            f"The index of {wanted.photos} was made with the checkpoint {there.checkpoint!r}, and not with "
            f"{wanted.checkpoint!r}: their embeddings do not compare. Add --rebuild to embed all images anew, or "
            "--output-dir for an index of its own."
        )
    if not options.rebuild and there.checkpoint_digest != wanted.checkpoint_digest and (index / CONFIG_NAME).exists():
        raise InputError(
            f"The checkpoint {wanted.checkpoint!r} has other weights than when {wanted.photos} was indexed. Add "
            "--rebuild to embed all images anew."
        )


def index_photos(
    photos: Photos, index: Path, wanted: PhotoIndex, options: IndexOptions, *, show_progress: bool = True
) -> Outcome:
    """Make the index of a folder of images, or bring it up to date.

    Args:
        photos: the images.
        index: the folder of the index.
        wanted: what the index says of itself then.
        options: how it is made.
        show_progress: show a bar.

    Returns:
        What was done.

    Raises:
        InputError: as [`check_index_folder`], or no image can be used.
        ConflictError: another process is indexing the folder.
        DiskFullError, UnwritableError: the index cannot be written; an earlier one is as it was.
    """
    check_index_folder(index, wanted, options)
    make_folder(index)
    if options.rebuild:
        _remove(index)
    if PhotoIndex.read(index) is None:
        wanted.write(index)
    retriever = Retriever.from_pretrained(wanted.checkpoint)
    building = Building(
        ImageFilesSource(photos.images, photos.folder),
        retriever,
        index,
        settings={"name": photos.folder.name or "photos", "index": "auto", "index_options": {}},
        shard_rows=SHARD_ROWS,
        keep_images=False,
        keep_real_valued=False,
        strict=False,
        # What is behind a folder that may not be read is not known to be gone.
        remove_missing=not (options.keep_missing or photos.unreadable),
        is_same_source=True,
    )
    building.run(show_progress)
    wanted.write(index)
    export_query_encoder(retriever)
    assert building.outcome is not None  # one process alone indexes
    return building.outcome


def _remove(index: Path) -> None:
    """Remove the files of an index, while no other process changes it."""
    with changing(index):
        for path in index.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif not path.name.startswith(".writing-"):
                path.unlink()
