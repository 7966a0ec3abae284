"""The models that can embed anybody's images and texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cmr_hub.hub import list_checkpoints
from cmr_hub.methods import METHODS
from cmr_hub.retrieval.retriever import Retriever

from .catalogue import Catalogue

# Data sets of photos of everyday things, the one first whose checkpoints know most of what visitors bring.
PHOTOS = ("flickr8k", "pascal")


@dataclass(frozen=True)
class Checkpoint:
    """A model that embeds images and texts as they are.

    Attributes:
        title: the method, and what it learned from.
        method: its name in the registry.
        location: repo id or folder.
    """

    title: str
    method: str
    location: str


def own_checkpoints(catalogue: Catalogue) -> dict[str, Checkpoint]:
    """The models that can embed anybody's images and texts, by title: the server's own, bundled and prepared ones.

    After the server's own come those that learned from photos, in the order of `PHOTOS`, and of each data set the
    registry's first.

    Example:
    ```python
    >>> from cmr_hub.space.services.catalogue import Catalogue
    >>> from cmr_hub.space.services.user_checkpoints import own_checkpoints
    >>> "CCA, trained on emoji" in own_checkpoints(Catalogue())
    True
    ```
    """
    found = [
        (known.method, known.dataset, known.repo_id)
        for known in list_checkpoints()
        if known.accepts_raw_images and known.accepts_raw_texts
    ]
    found += [
        (source.method, name, source.checkpoint)
        for name in catalogue.names
        for source in catalogue[name].sources.values()
        if source.folder is not None and source.takes_images and source.takes_texts
    ]
    own = [
        Checkpoint(f"{METHODS[known.method].title}, {Path(known.repo_id).name}", known.method, known.repo_id)
        for known in catalogue.checkpoints
        if known.accepts_raw_images and known.accepts_raw_texts
    ]
    checkpoints = own + [
        Checkpoint(f"{METHODS[method].title}, trained on {dataset}", method, location)
        for method, dataset, location in sorted(found, key=_rank)
    ]
    return {checkpoint.title: checkpoint for checkpoint in checkpoints}


def _rank(found: tuple[str, str, str]) -> tuple[int, int]:
    """The place of a method, data set and location: by the data set, then by the method."""
    method, dataset, _ = found
    return PHOTOS.index(dataset) if dataset in PHOTOS else len(PHOTOS), list(METHODS).index(method)


@lru_cache(maxsize=2)  # visitors mostly take the one that is offered first
def load_retriever(location: str) -> Retriever:
    """The retriever of a checkpoint, by repo id or folder."""
    return Retriever.from_pretrained(location)
