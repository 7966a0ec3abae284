"""A gallery's layouts in the plane, and where a question is in them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np

from cmr_hub.errors import CheckpointError
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.gallery_layout import MAP_NAME
from cmr_hub.retrieval.maps import GalleryMap, NeighbourMap, PrincipalMap, embedded_map_path

from .catalogue import Source
from .queries import Asked, opened_query

LayoutName = Literal["pca", "tsne"]
Job = tuple[str, Source]  # a gallery's name and one of its models
PCA: LayoutName = "pca"
TSNE: LayoutName = "tsne"
NOT_YET = (
    "This model's t-SNE has not been laid out here yet; the map shows principal components until then. It takes about "
    "half a minute, in the background, and is kept."
)


def map_path(name: str, source: Source) -> Path:
    """Where the t-SNE of a gallery is stored, as one of its models embeds it."""
    return embedded_map_path(name, source.checkpoint) if source.folder is None else source.folder / MAP_NAME


def map_command(job: Job) -> list[str]:
    """The command that lays a gallery out and reports its progress, one JSON object per line."""
    name, source = job
    saved, embedded = ["--gallery", str(source.folder)], ["--dataset", name, "--checkpoint", source.checkpoint]
    where = embedded if source.folder is None else saved
    return [sys.executable, "-m", "cmr_hub.cli", "map", *where, "--progress", "json"]


class MapLayouts:
    """The layouts of galleries, each computed or read when it is first asked for."""

    def __init__(self) -> None:
        # Galleries, visitors' own among them, go when nobody else refers to them, and their maps with them.
        self._principal: WeakKeyDictionary[Gallery, PrincipalMap] = WeakKeyDictionary()
        self._neighbours: WeakKeyDictionary[Gallery, NeighbourMap] = WeakKeyDictionary()

    def find(self, gallery: Gallery, job: Job, layout: str) -> tuple[GalleryMap, str]:
        """A layout; where t-SNE is asked for and there is none, principal components and why."""
        problem = ""
        if layout == TSNE:
            try:
                if gallery not in self._neighbours and (path := map_path(*job)).exists():
                    self._neighbours[gallery] = NeighbourMap.load(path, gallery)
            except CheckpointError as error:
                problem = str(error)
            if gallery in self._neighbours:
                return self._neighbours[gallery], ""
            problem = problem or NOT_YET
        if gallery not in self._principal:
            self._principal[gallery] = PrincipalMap.of(gallery)
        return self._principal[gallery], problem


def fitting(asked: Asked, gallery: Gallery) -> Asked:
    """The question for a gallery that may have images, or texts, alone."""
    return asked if asked.target in gallery.embeds else replace(asked, target=next(iter(gallery.embeds)))


def embed(gallery: Gallery, asked: Asked) -> np.ndarray:
    """The `(1, d)` embedding of a question that can be answered."""
    return gallery.embed_query(opened_query(asked.query), asked.target)


def position_of(gallery: Gallery, found: GalleryMap, asked: Asked, embedded: np.ndarray) -> np.ndarray:
    """Where a question is, `(2,)`: an item of the gallery where it is drawn."""
    if asked.query.kind != "item" or asked.query.more:
        return found.place(embedded)[0]
    return found.positions(gallery, [gallery.position(asked.query.value)], asked.source(gallery))[0]
