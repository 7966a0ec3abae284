"""One query to one gallery, the same for the page and for the API."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL.Image import Image

from ..columns import Side
from ..errors import InputError
from ..gallery import Gallery, Hit
from ..images import load_image
from .catalogue import Catalogue

MAX_TEXT = 2000
MIN_SIDE = 1024  # a large JPEG may be decoded this small; no encoder looks closer


@dataclass(frozen=True)
class Query:
    """What somebody is looking for.

    Attributes:
        kind: what `value` is: a text, the path of an uploaded picture, or the id of an item of the gallery.
        value: the query itself.
        side: of an item, whether its picture or its text is the query; None for the one that the target is not.
    """

    kind: Literal["text", "image", "item"]
    value: str
    side: Side | None = None

    @property
    def default_target(self) -> Side:
        """What such a query looks for, unless told otherwise: the other kind of thing."""
        return "text" if self.kind == "image" else "image"


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        gallery: where.
        query: what was asked.
        target: which side of the items was compared.
        hits: best first.
        seconds: time from the query to the hits, encoding included.
    """

    gallery: Gallery
    query: Query
    target: Side
    hits: list[Hit]
    seconds: float


def ask(
    catalogue: Catalogue, query: Query, gallery: str = "", method: str = "", target: str = "", k: int = 10
) -> Answer:
    """Search.

    Args:
        catalogue: the galleries.
        query: what to look for.
        gallery: name of the gallery; by default the default one.
        method: the model; by default the gallery's first.
        target: "image" or "text"; by default what suits the query.
        k: how many hits.

    Raises:
        UnknownNameError: there is no such gallery or model.
        InputError: the query or `k` cannot be used.
        DatasetError, CheckpointError: the gallery is not there or damaged.
    """
    opened = catalogue.open(gallery, method)
    target = target or query.default_target
    if query.kind == "text" and len(query.value) > MAX_TEXT:
        raise InputError(
            f"The text has {len(query.value):,} characters, more than the {MAX_TEXT:,} allowed. Shorten it."
        )
    if not isinstance(k, int):
        raise InputError(f"k must be a whole number, and is {k!r}.")
    started = time.perf_counter()
    if query.kind == "text":
        hits = opened.search(text=query.value, target=target, k=k)
    elif query.kind == "image":
        hits = opened.search(image=open_upload(query.value), target=target, k=k)
    else:
        hits = opened.search(item=query.value, target=target, source=query.side, k=k)
    return Answer(opened, query, target, hits, time.perf_counter() - started)


def open_upload(path: str) -> Image:
    """An uploaded picture.

    Raises:
        InputError: it is none, or is refused; the message names the file, and not where the server keeps it.
    """
    try:
        return load_image(path, min_side=MIN_SIDE)
    except InputError as error:
        raise InputError(str(error).replace(str(path), Path(path).name)) from error
