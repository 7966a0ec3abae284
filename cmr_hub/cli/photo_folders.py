"""What `cmr index` and `cmr serve FOLDER` share: an up-to-date index of a folder, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cmr_hub.utils.messages import name_some

if TYPE_CHECKING:
    from cmr_hub.retrieval.gallery_building import Outcome
    from cmr_hub.retrieval.photo_index import Photos


def indexed(
    folder: Path,
    *,
    checkpoint: str | None = None,
    output_dir: Path | None = None,
    keep_missing: bool = False,
    rebuild: bool = False,
) -> tuple[Photos, Path, Outcome | None]:
    """Make the index of a folder, or bring it up to date; nothing heavy is imported where it is.

    Args:
        folder: of images.
        checkpoint: folder or repo id; by default that of the index, or the default one.
        output_dir: where the index is; by default in the cache.
        keep_missing: keep images that are gone.
        rebuild: remove the index first.

    Returns:
        The images, the folder of the index, and what was done; None where there was nothing to do.
    """
    from cmr_hub.retrieval.photo_index import DEFAULT_CHECKPOINT, PhotoIndex, find_photos, index_folder, is_current

    photos = find_photos(folder)
    index = index_folder(photos.folder) if output_dir is None else output_dir.expanduser().absolute()
    there = PhotoIndex.read(index)
    if there is not None and there.photos == str(photos.folder) and not rebuild:
        checkpoint = checkpoint or there.checkpoint
    wanted = PhotoIndex.of(photos.folder, checkpoint or DEFAULT_CHECKPOINT)
    if not rebuild and is_current(index, photos, wanted):
        return photos, index, None
    from cmr_hub.retrieval.photo_indexing import IndexOptions, index_photos

    return photos, index, index_photos(photos, index, wanted, IndexOptions(keep_missing, rebuild))


def describe_outcome(photos: Photos, outcome: Outcome | None) -> Iterator[str]:
    """Lines on what was indexed."""
    if outcome is None:
        yield f"{photos.folder}: the index of {len(photos.images):,} images is up to date."
        return
    counts = {"new": outcome.added, "changed": outcome.changed, "removed": outcome.removed}
    said = ", ".join(f"{len(ids):,} {what}" for what, ids in counts.items() if ids) or "none of them new"
    yield f"{photos.folder}: {outcome.items:,} images indexed ({said})."
    if outcome.missing:
        yield f"Images that are no longer there, and still in the index: {len(outcome.missing):,}."
    if outcome.unusable:
        yield f"Images that cannot be used, and are not in the index: {len(outcome.unusable):,}."
    if outcome.duplicates:
        from cmr_hub.retrieval.gallery_layout import describe_duplicates

        yield describe_duplicates(outcome.duplicates)


def describe_passed_over(photos: Photos) -> Iterator[str]:
    """Lines on what of a folder was not looked at."""
    if photos.others:
        kinds = name_some([f"{count:,} {suffix}" for suffix, count in photos.others.items()], 5)
        yield f"Other files, passed over: {sum(photos.others.values()):,} ({kinds})."
    if photos.unreadable:
        named = name_some([f"{path} ({reason})" for path, reason in photos.unreadable.items()])
        yield f"Folders that may not be read, passed over: {len(photos.unreadable):,} ({named})."
