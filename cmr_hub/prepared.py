"""Where `python -m training prepare` leaves what it makes of a data set, and what of it is complete."""

from __future__ import annotations

from pathlib import Path

from .files import cache_folder


def prepared_folder(dataset: str, method: str | None = None) -> Path:
    """The folder of a prepared data set, or of one method's checkpoint in it; the gallery is in its `gallery`."""
    folder = cache_folder("prepared", dataset)
    return folder if method is None else folder / method


def prepared_galleries(dataset: str) -> dict[str, Path]:
    """Method name -> gallery folder, of those that are complete; open one with `Gallery.from_pretrained`."""
    found = prepared_folder(dataset).glob("*/gallery/gallery_config.json")
    return {path.parents[1].name: path.parent for path in sorted(found)}
