"""A gallery's common space in two dimensions: where its images and texts lie, and where a query lies among them.

Two layouts: principal components, at once and for any gallery, and t-SNE, which takes its time and is saved. Both see
hashing codes as their signs, -1 and +1.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cmr_hub.data.base import hash_order
from cmr_hub.data.columns import Modality
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.modeling.embeddings import as_vectors
from cmr_hub.utils.deprecation import renamed_arguments
from cmr_hub.utils.extras import require
from cmr_hub.utils.files import atomic_file, cache_folder

from .gallery import Gallery

MAP_NAME = "map.safetensors"
MAX_ANALYSED = 10_000  # pairs whose principal components are taken; more would change them little
MAX_LAID_OUT = 2_000  # pairs that t-SNE lays out in half a minute, and as many as a page can draw
PERPLEXITY = 30.0
ITERATIONS = 1_000
NEIGHBOURS = 10  # by whose positions t-SNE's layout takes up a query
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
        found = self.place(gallery.embeds[modality][wanted])
        at = np.searchsorted(self.rows, wanted).clip(max=len(self.rows) - 1)
        is_here = self.rows[at] == wanted
        found[is_here] = self.points[modality][at[is_here]]
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

    t-SNE gives positions and no projection: a query is placed at the mean of the positions of its nearest neighbours
    on the map, each weighted by the inverse square of its cosine distance, so that what equals a point lies on it.

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
        """The weighted mean of the nearest points; see the class and [`GalleryMap.place`]."""
        similarities = as_vectors(embeds) @ self.vectors.T
        count = min(NEIGHBOURS, len(self.vectors))
        nearest = np.argpartition(-similarities, count - 1, axis=1)[:, :count]
        distances = 1 - np.take_along_axis(similarities, nearest, axis=1)
        weights = 1 / distances.clip(min=SAME).astype(np.float64) ** 2
        weights /= weights.sum(axis=1, keepdims=True)
        positions = np.concatenate(list(self.points.values()))[nearest]
        return np.einsum("qk,qkx->qx", weights, positions).astype(np.float32)

    def save(self, path: Path, gallery: Gallery) -> None:
        """Write the layout and what it belongs to: positions as safetensors, the rest as JSON in its header."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as scratch:
            save_file(
                {"rows": self.rows, **{str(name): rows for name, rows in self.points.items()}},
                scratch,
                {"map": json.dumps(_belongs_to(gallery))},
            )

    @classmethod
    def load(cls, path: Path, gallery: Gallery) -> NeighbourMap:
        """Read what [`save`] wrote for the same gallery.

        Raises:
            CheckpointError: the file is missing or damaged, or of other items or another checkpoint.
        """
        again = "Lay it out again: `cmr map`."
        try:
            with safe_open(path, framework="numpy") as file:
                belongs_to = json.loads(file.metadata()["map"])
                rows = file.get_tensor("rows")
                points: dict[Modality, np.ndarray] = {name: file.get_tensor(name) for name in gallery.embeds}
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"The map in {path} cannot be read: {error!r}. {again}") from error
        if belongs_to != _belongs_to(gallery):
            raise CheckpointError(f"The map in {path} was laid out for other items, or by another checkpoint. {again}")
        if rows.ndim != 1 or any(positions.shape != (len(rows), 2) for positions in points.values()):
            raise CheckpointError(f"The map in {path} has positions of an unexpected shape. {again}")
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
    require("sklearn", "train", "A map of a gallery")
    from sklearn.manifold import TSNE

    if vectors.shape[1] < 2:
        raise InputError("A common space of one dimension is a line already: there is nothing to lay out in a plane.")
    tsne = TSNE(
        metric="cosine",
        init="pca",
        perplexity=perplexity,
        max_iter=ITERATIONS,
        random_state=seed,
        verbose=2 if progress else 0,
    )
    told = contextlib.redirect_stdout(_Iterations(progress)) if progress else contextlib.nullcontext()
    with told:
        return tsne.fit_transform(vectors).astype(np.float32)


class _Iterations(io.TextIOBase):
    """scikit-learn tells how far t-SNE is only in print: this reads it, every fifty iterations."""

    def __init__(self, progress: Callable[[float], None]):
        self._progress, self._stdout = progress, sys.stdout

    def write(self, text: str) -> int:
        if found := re.search(r"Iteration (\d+):", text):
            with contextlib.redirect_stdout(self._stdout):
                self._progress(int(found[1]) / ITERATIONS)
        return len(text)


def _vectors(gallery: Gallery, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([as_vectors(embeds[rows]) for embeds in gallery.embeds.values()])


def _belongs_to(gallery: Gallery) -> dict[str, str]:
    """What a map must share with its gallery."""
    ids = hashlib.sha256(json.dumps(gallery.ids).encode()).hexdigest()
    return {"retriever": gallery.retriever.fingerprint, "ids": ids}
