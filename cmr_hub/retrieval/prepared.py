"""Where `cmr prepare` leaves what it makes of a data set, and what of it is complete."""

from __future__ import annotations

from pathlib import Path

from cmr_hub.utils.files import cache_folder

from .gallery_layout import CONFIG_NAME, shard_path


def prepared_folder(dataset: str, method: str | None = None) -> Path:
    """The folder of a prepared data set, or of one method's checkpoint in it; the gallery is in its `gallery`."""
    folder = cache_folder("prepared", dataset)
    return folder if method is None else folder / method


def prepared_galleries(dataset: str) -> dict[str, Path]:
    """Method name -> gallery folder, of those that are complete; open one with `Gallery.from_pretrained`."""
    found = (path.parent for path in sorted(prepared_folder(dataset).glob(f"*/gallery/{CONFIG_NAME}")))
    # Galleries of earlier versions had other files: they are made anew.
    return {folder.parent.name: folder for folder in found if shard_path(folder, 0).exists()}
