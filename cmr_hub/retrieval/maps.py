"""A gallery's common space in two dimensions: where its images and texts lie, and where a query lies among them.

Two layouts: principal components, at once and for any gallery, and t-SNE, which takes its time and is saved. Both see
hashing codes as their signs, -1 and +1.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from cmr_hub.data.base import hash_order
from cmr_hub.data.columns import Modality
from cmr_hub.data.content import content_digest
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.modeling.embeddings import as_vectors
from cmr_hub.utils.checkpoint_files import array_of, open_tensors, read_tensors
from cmr_hub.utils.deprecation import renamed_arguments
from cmr_hub.utils.extras import require
from cmr_hub.utils.files import atomic_file, cache_folder

from .gallery import Gallery
from .gallery_layout import MAP_NAME

if TYPE_CHECKING:
    from openTSNE import TSNEEmbedding

MAX_ANALYSED = 10_000  # pairs whose principal components are taken; more would change them little
MAX_LAID_OUT = 2_000  # pairs that t-SNE lays out in half a minute, and as many as a page can draw
PERPLEXITY = 30.0
QUERY_PERPLEXITY = 5.0  # openTSNE's default for points that are added to a layout
EARLY_ITERATIONS, ITERATIONS = 250, 750  # with exaggerated affinities, and without
CALLBACK_EVERY = 50  # iterations
SAME = 1e-6  # cosine distance below which two vectors count as one
MIN = 4  # points that make a layout


@dataclass(frozen=True, eq=False)
class GalleryMap(ABC):
    """Positions of a gallery's items in the plane.

    Attributes:
        rows: `(n,)` int64, ascending: the rows of the gallery that are on the map.
        points: side -> `(n, 2)` float32 positions of these rows.
    """

    rows: np.ndarray
    points: Mapping[Modality, np.ndarray]

    @abstractmethod
    def place(self, embeds: np.ndarray) -> np.ndarray:
        """`(q, d)` embeddings, or `(q, bits // 8)` codes, to `(q, 2)` float32 positions."""

    @renamed_arguments(side="modality")
    def positions(self, gallery: Gallery, rows: Sequence[int], modality: Modality) -> np.ndarray:
        """Where a side of some rows of the gallery lies: `(q, 2)` float32. Rows that are not on the map are placed."""
        wanted = np.asarray(rows, np.int64)
        found = np.empty((len(wanted), 2), np.float32)
        at = np.searchsorted(self.rows, wanted).clip(max=len(self.rows) - 1)
        is_here = self.rows[at] == wanted
        found[is_here] = self.points[modality][at[is_here]]
        if not is_here.all():
            found[~is_here] = self.place(gallery.embeds[modality][wanted[~is_here]])
        return found


@dataclass(frozen=True, eq=False)
class PrincipalMap(GalleryMap):
    """The plane of the two principal components of images and texts together.

    Attributes:
        mean: `(d,)` float32 centre.
        axes: `(d, 2)` float32 directions of unit length.
        shares: of the variance that each of the two carries.

    Example:
    ```python
    >>> import cmr_hub
    >>> from cmr_hub.data import load_dataset
    >>> retriever = cmr_hub.from_pretrained("cmr/dscmr-emoji")
    >>> gallery = cmr_hub.Gallery.from_dataset(load_dataset("emoji")["test"], retriever)
    >>> layout = PrincipalMap.of(gallery)
    >>> layout.points["image"].shape, layout.place(retriever.encode_texts(["a smiling cat"])).shape
    ((392, 2), (1, 2))
    ```
    """

    mean: np.ndarray
    axes: np.ndarray
    shares: tuple[float, float]

    @classmethod
    def of(cls, gallery: Gallery, most: int = MAX_ANALYSED) -> PrincipalMap:
        """The map of a gallery; of more items than `most`, of those that come first in an order fixed by their ids."""
        require("sklearn", "train", "A map of a gallery")
        from sklearn.decomposition import PCA

        rows = rows_by_id(gallery.ids, most)
        vectors = _vectors(gallery, rows)
        mean, axes, shares = vectors.mean(axis=0), np.zeros((vectors.shape[1], 2), np.float32), np.zeros(2)
        # What varies in no direction has no components.
        if vectors.std(axis=0).max() > SAME:
            found = min(2, *vectors.shape)
            solver = "arpack" if min(vectors.shape) > 2 else "full"
            pca = PCA(found, svd_solver=solver, random_state=0).fit(vectors)
            axes[:, :found] = pca.components_.T
            shares[:found] = pca.explained_variance_ratio_
        points = dict(zip(gallery.embeds, np.split((vectors - mean) @ axes, len(gallery.embeds)), strict=True))
        return cls(rows, points, mean, axes, (float(shares[0]), float(shares[1])))

    def place(self, embeds: np.ndarray) -> np.ndarray:
        """The exact projection; see [`GalleryMap.place`]."""
        return (as_vectors(embeds) - self.mean) @ self.axes


@dataclass(frozen=True, eq=False)
class NeighbourMap(GalleryMap):
    """t-SNE by cosine of images and texts together, which keeps neighbours and little else.

    A query is placed by t-SNE too, with the layout held fixed: it starts at the median of its nearest neighbours.

    Attributes:
        vectors: `(sides · n, d)` float32 unit rows behind the points, side by side.
    """

    vectors: np.ndarray

    @classmethod
    def of(
        cls,
        gallery: Gallery,
        most: int = MAX_LAID_OUT,
        *,
        seed: int = 0,
        perplexity: float = PERPLEXITY,
        progress: Callable[[float], None] | None = None,
    ) -> NeighbourMap:
        """Lay a gallery out; of more items than `most`, those that come first in an order fixed by their ids.

        Args:
            gallery: whose images and texts.
            most: pairs.
            seed: of the layout.
            perplexity: about how many neighbours each point keeps; of few points at most a third of them.
            progress: called now and then with the share that is done.

        Raises:
            InputError: there are too few points, or they have a single dimension.
        """
        rows = rows_by_id(gallery.ids, most)
        vectors = _vectors(gallery, rows)
        if len(vectors) < MIN:
            raise InputError(f"A layout needs {MIN} points at least, and this gallery has {len(vectors)}.")
        perplexity = min(perplexity, (len(vectors) - 1) / 3)
        positions = lay_out(vectors, seed=seed, perplexity=perplexity, progress=progress)
        points = dict(zip(gallery.embeds, np.split(positions, len(gallery.embeds)), strict=True))
        return cls(rows, points, vectors)

    def place(self, embeds: np.ndarray) -> np.ndarray:
        """The positions where t-SNE leaves queries in the fixed layout; see [`GalleryMap.place`]."""
        layout, centre = self._layout
        perplexity = min(QUERY_PERPLEXITY, (len(self.vectors) - 1) / 3)
        return np.asarray(layout.transform(as_vectors(embeds), perplexity) + centre, np.float32)

    @cached_property
    def _layout(self) -> tuple[TSNEEmbedding, np.ndarray]:
        """The layout as openTSNE has it, and `(2,)` where its centre is: openTSNE moves that to the origin."""
        openTSNE = require("openTSNE", "train", "A map by t-SNE")
        perplexity = min(PERPLEXITY, (len(self.vectors) - 1) / 3)
        affinities = openTSNE.affinity.PerplexityBasedNN(self.vectors, perplexity, method="exact", metric="cosine")
        positions = np.concatenate(list(self.points.values())).astype(np.float64)
        centre = (positions.min(axis=0) + positions.max(axis=0)) / 2
        return openTSNE.TSNEEmbedding(positions - centre, affinities), centre

    def save(self, path: Path, gallery: Gallery) -> None:
        """Write the layout and what it belongs to: positions as safetensors, the rest as JSON in its header."""
        content = content_digest(gallery.dataset.select(self.rows))
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as scratch:
            save_file(
                {"rows": self.rows, **{str(name): rows for name, rows in self.points.items()}},
                scratch,
                {"map": json.dumps({**_belongs_to(gallery), "content": content})},
            )

    @classmethod
    def load(cls, path: Path, gallery: Gallery) -> NeighbourMap:
        """Read what [`save`] wrote for the same gallery.

        Raises:
            CheckpointError: the file is missing or damaged, or of other items or another checkpoint.
        """
        again = "Lay it out again: `cmr map`."
        try:
            arrays = read_tensors(path)
            with open_tensors(path) as file:
                belongs_to = dict(json.loads(file.metadata()["map"]))
            rows = array_of(arrays, "rows", "i", 1, path)
            points: dict[Modality, np.ndarray] = {
                modality: array_of(arrays, modality, "f", 2, path) for modality in gallery.embeds
            }
        except (CheckpointError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(f"The map in {path} cannot be read: {error} {again}") from error
        another = f"The map in {path} was laid out for other items, or by another checkpoint. {again}"
        content = belongs_to.pop("content", None)  # maps of earlier versions do not say it
        if belongs_to != _belongs_to(gallery):
            raise CheckpointError(another)
        if any(positions.shape != (len(rows), 2) for positions in points.values()):
            raise CheckpointError(f"The map in {path} has positions of an unexpected shape. {again}")
        if not len(rows) or rows[0] < 0 or rows[-1] >= len(gallery) or (np.diff(rows) <= 0).any():
            raise CheckpointError(f"The map in {path} has rows that the gallery does not have. {again}")
        if content not in (None, content_digest(gallery.dataset.select(rows))):
            raise CheckpointError(another)
        return cls(rows, points, _vectors(gallery, rows))


def embedded_map_path(dataset: str, checkpoint: str) -> Path:
    """Where the map of a data set is that a checkpoint embeds each time; a saved gallery has it in its own folder."""
    return cache_folder("maps", dataset, checkpoint.replace("/", "--"), MAP_NAME)


def rows_by_id(ids: Sequence[str], most: int) -> np.ndarray:
    """At most so many rows, ascending, chosen by a hash of their ids: the same for every checkpoint.

    Example:
    ```python
    >>> rows_by_id(["cat", "dog", "cow"], 5).tolist()
    [0, 1, 2]
    ```
    """
    if len(ids) <= most:
        return np.arange(len(ids))
    order = sorted(range(len(ids)), key=[hash_order(item) for item in ids].__getitem__)
    return np.sort(order[:most])


def lay_out(
    vectors: np.ndarray, *, seed: int, perplexity: float, progress: Callable[[float], None] | None = None
) -> np.ndarray:
    """t-SNE by cosine, from principal components: `(n, d)` rows to `(n, 2)` float32; the same for the same seed.

    Args:
        vectors: what is laid out.
        seed: of the layout; it starts from principal components, so that seeds differ little or not at all.
        perplexity: about how many neighbours each point keeps.
        progress: called now and then with the share that is done.

    Raises:
        InputError: the rows have a single column, and so nothing to lay out.
    """
    if vectors.shape[1] < 2:
        raise InputError("A common space of one dimension is a line already: there is nothing to lay out in a plane.")
    openTSNE = require("openTSNE", "train", "A map by t-SNE")
    steps = count(CALLBACK_EVERY, CALLBACK_EVERY)

    def report(*_: object) -> None:
        if progress is not None:
            progress(next(steps) / (EARLY_ITERATIONS + ITERATIONS))

    tsne = openTSNE.TSNE(
        metric="cosine",
        neighbors="exact",
        initialization="pca",
        perplexity=perplexity,
        early_exaggeration_iter=EARLY_ITERATIONS,
        n_iter=ITERATIONS,
        callbacks=report,
        callbacks_every_iters=CALLBACK_EVERY,
        random_state=seed,
    )
    return np.asarray(tsne.fit(vectors), np.float32)


def _vectors(gallery: Gallery, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([as_vectors(embeds[rows]) for embeds in gallery.embeds.values()])


def _belongs_to(gallery: Gallery) -> dict[str, str]:
    """What a map must share with its gallery, in addition to the content of its items."""
    ids = hashlib.sha256(json.dumps(gallery.ids).encode()).hexdigest()
    return {"retriever": gallery.retriever.fingerprint, "ids": ids}
