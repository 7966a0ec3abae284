"""The map of a gallery's common space that the Space draws: t-SNE, laid out once and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from datasets import concatenate_datasets

from cmr_hub.data import load_dataset
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.gallery_layout import MAP_NAME
from cmr_hub.retrieval.maps import NeighbourMap, embedded_map_path
from cmr_hub.retrieval.retriever import Retriever

Report = Callable[[str, float, str], None]
OPENED = 0.2  # share of the whole that opening the gallery takes


def map_saved(folder: Path, *, report: Report) -> Path:
    """Lay out a saved gallery; the map comes into its folder.

    Args:
        folder: of the gallery.
        report: called with stage, share of the whole in [0, 1], and a line of text.

    Returns:
        The map's path.

    Raises:
        CheckpointError: the gallery is missing or damaged.
        InputError: it has too few items.
    """
    report("gallery", 0.0, "Opening the gallery")
    return _lay_out(Gallery.from_pretrained(folder, index="auto"), folder / MAP_NAME, report)


def map_embedded(dataset: str, checkpoint: str, data_dir: Path | None = None, *, report: Report) -> Path:
    """Lay out a whole data set as a checkpoint embeds it; the map comes into the cache folder.

    Args:
        dataset: its name.
        checkpoint: folder or repo id.
        data_dir: where the data set's files are.
        report: as for [`map_saved`].

    Returns:
        The map's path.

    Raises:
        UnknownNameError, DatasetError, DownloadError, CheckpointError, InputError: the data or the checkpoint are not
            to be had, do not fit each other, or are too few items.
    """
    report("gallery", 0.0, "Embedding the data set")
    items = concatenate_datasets(list(load_dataset(dataset, data_dir).values()))
    gallery = Gallery.from_dataset(items, Retriever.from_pretrained(checkpoint), name=dataset, cache=True)
    return _lay_out(gallery, embedded_map_path(dataset, checkpoint), report)


def _lay_out(gallery: Gallery, path: Path, report: Report) -> Path:
    def tell(share: float) -> None:
        report("map", OPENED + (1 - OPENED) * share, "Laying out by t-SNE")

    tell(0.0)
    NeighbourMap.of(gallery, progress=tell).save(path, gallery)
    report("done", 1.0, f"The map of {gallery.name} is ready")
    return path
