"""Searches galleries from the command line: without torch where that is possible, otherwise as `Gallery` does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq

from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.modeling.combination import check_weight, combine
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import checked

from .gallery_layout import CONFIG_NAME, shard_path
from .photo_index import PhotoIndex
from .query_encoder import QueryEncoder, UncoveredError

MinScore = float | Literal["auto"]

MAX_ITEMS = 1_000_000  # that are compared one by one, as `choose_index` does


@dataclass(frozen=True)
class PhotoHit:
    """One found item.

    Attributes:
        id: of the item.
        score: cosine similarity to the query.
        path: of its image; None where the gallery has no files.
        exists: whether the file is there; None without a path.
        texts: of the item.
    """

    id: str
    score: float
    path: str | None = None
    exists: bool | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class PhotoQuery:
    """What is searched by.

    Attributes:
        texts: texts and their weights.
        images: paths of images and their weights.
        items: ids of items of the gallery and their weights.

    Raises:
        InputError: there is nothing to search by, or only what hits are to be unlike.
    """

    texts: Mapping[str, float]
    images: Mapping[str, float] = field(default_factory=dict)
    items: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        terms = (self.texts, self.images, self.items)
        weights = [check_weight(weight) for weighted in terms for weight in weighted.values()]
        if not weights:
            raise InputError('Give words, --image FILE, or both: cmr search "a dog in the snow".')
        if max(weights) <= 0:
            raise InputError("What hits are unlike is no query by itself: add words or an image that they are like.")
        for path in self.images:
            if not Path(path).is_file():
                raise InputError(
                    f"There is no file {path!r}. Check the path of the image; words come before --image, or after "
                    "--text."
                )
        if any(not text.strip() for text in self.texts):
            raise InputError("The text query is empty: type at least one word.")


def search_photos(gallery: Path, query: PhotoQuery, k: int, min_score: MinScore | None = None) -> list[PhotoHit]:
    """The `k` items of a gallery that are nearest to a query.

    Args:
        gallery: the folder of an index of photos, or of any gallery.
        query: words, images or both.
        k: how many hits.
        min_score: hits with a lower score are left out, as for `Gallery.search`.

    Raises:
        CheckpointError: there is no gallery, or it is damaged.
        InputError: the query cannot be used.
    """
    if not (gallery / CONFIG_NAME).is_file():
        raise CheckpointError(f"{gallery} is no gallery and no index: it has no {CONFIG_NAME}.")
    index = PhotoIndex.read(gallery)
    photos = None if index is None else Path(index.photos)
    if photos is not None and not isinstance(min_score, str):
        try:
            return _search_light(gallery, photos, query, k, min_score)
        except UncoveredError:
            pass
    return _search_gallery(gallery, photos, query, k, min_score)


def _search_light(gallery: Path, photos: Path, query: PhotoQuery, k: int, min_score: float | None) -> list[PhotoHit]:
    """As `Gallery.search`, by exported networks and products of matrices alone.

    Raises:
        UncoveredError: that does not do.
    """
    config = read_json(gallery / CONFIG_NAME)
    encoder = QueryEncoder.find(str(config.get("fingerprint")))
    if encoder is None or config.get("index") not in ("auto", "exact") or query.items:
        raise UncoveredError("the checkpoint is not exported, the gallery has an index of its own, or items ask")
    rows = [encoder.embed_texts(list(query.texts))] if query.texts else []
    if query.images:
        rows.append(encoder.embed_images(list(query.images)))
    weights = [*query.texts.values(), *query.images.values()]
    vector = combine(np.concatenate(rows), weights) if len(weights) > 1 else np.concatenate(rows)[0]
    ids, embeds = _read(gallery, int(config["shards"]))
    scores = embeds @ vector
    found = _best(scores, min(k, len(scores)))
    return [
        as_hit(ids[row], float(scores[row]), photos)
        for row in found
        if min_score is None or scores[row] >= np.float32(min_score)
    ]


def _read(gallery: Path, shards: int) -> tuple[list[str], np.ndarray]:
    """Ids and `(n, d)` embeddings of images.

    Raises:
        UncoveredError: there are too many, or of another kind.
    """
    ids, embeds = list[str](), []
    with checked(gallery):
        for number in range(shards):
            with pq.ParquetFile(shard_path(gallery, number)) as file:  # pq.read_table imports pandas
                if not file.metadata.num_rows:  # all of its items cannot be used
                    continue
                table = file.read(columns=["id", "image_embeds"])
            ids += table.column("id").to_pylist()
            values = table.column("image_embeds").combine_chunks()
            embeds.append(np.from_dlpack(values.flatten()).reshape(len(values), -1))  # to_numpy imports pandas
    if len(ids) > MAX_ITEMS or not embeds or embeds[0].dtype != np.float32:
        raise UncoveredError("the gallery is too large, or has codes")
    return ids, np.concatenate(embeds)


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Rows of the `k` best scores, best first; of equal ones the first is first."""
    rows = np.arange(len(scores))
    if k < len(scores):
        rows = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    return rows[np.argsort(-scores[rows], kind="stable")[:k]]


def _search_gallery(
    gallery: Path, photos: Path | None, query: PhotoQuery, k: int, min_score: MinScore | None
) -> list[PhotoHit]:
    from .gallery import Gallery
    from .queries import Query, Term

    opened = Gallery.from_pretrained(gallery, image_root=photos)
    terms = [
        *(Term(text=text, weight=weight) for text, weight in query.texts.items()),
        *(Term(image=path, weight=weight) for path, weight in query.images.items()),
        *(Term(item=item, weight=weight) for item, weight in query.items.items()),
    ]
    hits = opened.search(Query(terms), k=k, min_score=min_score)
    return [as_hit(hit.id, hit.score, photos, hit.texts) for hit in hits]


def as_hit(item: str, score: float, photos: Path | None, texts: Sequence[str] = ()) -> PhotoHit:
    """A hit with the path of its image.

    Args:
        item: its id.
        score: of the hit.
        photos: the folder of the images, where ids are paths in it.
        texts: of the item.
    """
    if photos is None:
        return PhotoHit(item, score, texts=tuple(texts))
    path = os.path.normpath(os.path.join(photos, item))
    if not Path(path).is_relative_to(photos):  # an index may come from elsewhere
        return PhotoHit(item, score, texts=tuple(texts))
    return PhotoHit(item, score, path, os.path.exists(path), tuple(texts))
