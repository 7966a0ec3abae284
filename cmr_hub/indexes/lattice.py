"""Search of lattice codes: eight bytes an item, behind a network that spreads the items over a sphere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.indexes import register_index
from cmr_hub.utils.checkpoint_files import inner_path, read_json
from cmr_hub.utils.checksums import saved

from .base import CONFIG_NAME, Filter, Index, check_k, load_data
from .nearest import Nearest
from .quantizers.lattice import SphereLattice
from .quantizers.spreading_vectors import SpreadingVectorsModel

BLOCK_ROWS = 1 << 15  # compared at once: their scores stay in a core's cache
BLOCK_QUERIES = 256
CATALYSER = "catalyser"  # folder of it in a saved index
LATTICE_DIM = 24


@register_index("lattice")
class LatticeIndex(Index):
    """Every item is the nearest point of a lattice, and compared as that with queries that are not quantised.

    Scores are cosines in the space that the catalyser spreads items over, where they are smaller than those of the
    embeddings; only their order means the same. Codes and catalyser are all that is saved: nothing of the embeddings.

    An item's code takes `lattice.bytes` bytes for each sphere: 8 with r2 = 79. In memory its point lies beside the
    code, another byte for each of the 24 dimensions, so that a search decodes nothing. With `keep_points=False` there
    are codes alone, and each search decodes all of them, whether it is of one query or of a thousand: about a second
    for a million.

    Args:
        vectors, ids: as for [`Index`].
        catalyser: folder or repo id of a `SpreadingVectorsModel` that was trained on such vectors by
            `cmr train-quantizer`. None takes vectors of width 24 as they are.
        r2: squared norm of the lattice's points; see [`~cmr_hub.indexes.quantizers.lattice.SphereLattice`].
        keep_points: whether decoded points are kept in memory.

    Raises:
        InputError: vectors of another width than 24 without a catalyser, or than it takes; or an `r2` that the lattice
            cannot have.
        CheckpointError: the catalyser cannot be loaded.

    Example:
    ```python
    >>> import numpy as np
    >>> vectors = np.eye(24, dtype=np.float32)
    >>> index = LatticeIndex(vectors)
    >>> index.vectors.shape, index.vectors.dtype, index.search(vectors[5:6], k=1)[1].tolist()
    ((24, 8), dtype('uint8'), [[5]])
    ```
    """

    approximate = True

    def __init__(
        self,
        vectors: np.ndarray,
        ids: np.ndarray | None = None,
        *,
        catalyser: str | os.PathLike | None = None,
        r2: int = 79,
        keep_points: bool = True,
    ):
        self._given = None if catalyser is None else os.fspath(catalyser)
        self.catalyser = None if self._given is None else SpreadingVectorsModel.from_pretrained(self._given).eval()
        config = self.catalyser and self.catalyser.config
        self.spheres = config.spheres if config else 1
        self.lattice = SphereLattice(config.output_dim // config.spheres if config else LATTICE_DIM, r2)
        self.keep_points = keep_points
        if vectors.dtype != np.uint8:  # of codes the base class says that they are
            self._check_width(vectors.shape[1])
        super().__init__(vectors, ids)

    def _check_width(self, width: int) -> None:
        if self.catalyser is None and width != LATTICE_DIM:
            raise InputError(
                f"The lattice has {LATTICE_DIM} dimensions and the vectors {width}: name a catalyser that brings them "
                "down, index_options={'catalyser': FOLDER}. One is trained by `cmr train-quantizer --gallery "
                "GALLERY --output-dir FOLDER`, or with --vectors FILE.npy."
            )
        if self.catalyser is not None and width != self.catalyser.config.input_dim:
            raise InputError(
                f"The catalyser in {self._given} takes vectors of width {self.catalyser.config.input_dim}, and these "
                f"have {width}: train one on such vectors by `cmr train-quantizer`."
            )

    @property
    def options(self) -> dict[str, Any]:
        """As given; a saved index has its catalyser in its own folder, and asks for none elsewhere."""
        return {"catalyser": self._given, "r2": self.lattice.r2, "keep_points": self.keep_points}

    def search(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
        self.check(queries)
        check_k(k)
        allowed = self._allowed(filter)
        spread = self._spread(queries)
        # A point's norm is the root of r2 on each sphere.
        spread /= np.sqrt(self.lattice.r2 * self.spheres, dtype=np.float32)
        found = [Nearest(len(spread[start : start + BLOCK_QUERIES]), k) for start in self._query_starts(spread)]
        for first_row, points in self._blocks():
            for start, nearest in zip(self._query_starts(spread), found, strict=True):
                scores = spread[start : start + BLOCK_QUERIES] @ points.T
                if allowed is not None:
                    scores[:, ~allowed[first_row : first_row + len(points)]] = -np.inf
                nearest.show(scores, first_row)
        if not found:
            return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
        scores, rows = (np.concatenate(column) for column in zip(*(part.found() for part in found), strict=True))
        return scores, self._ids_of(rows)

    def save(self, folder: str | os.PathLike) -> None:
        """As [`Index.save`], with the catalyser in a folder of its own."""
        with saved(folder) as scratch:
            super().save(scratch)
            if self.catalyser is not None:
                self.catalyser.save_pretrained(scratch / CATALYSER)

    @classmethod
    def from_saved(cls, folder: str | os.PathLike, options: dict[str, Any]) -> Self:
        data, config = load_data(folder), read_json(Path(folder) / CONFIG_NAME)
        own = {**options, "catalyser": options["catalyser"] and inner_path(Path(folder), CATALYSER)}
        index = cls(np.empty((0, config["width"]), np.float32), **own)
        # What was saved are codes already.
        codes, ids = data["vectors"], data.get("ids")
        if codes.dtype != np.uint8 or codes.shape[1] != index.vectors.shape[1]:
            raise CheckpointError(f"The codes in {folder} are not of this lattice. Build the index anew.")
        index.lattice.check_codes(codes.reshape(-1, index.lattice.bytes))
        index._ids = None if ids is None else cls._checked_ids(ids, len(codes), np.empty(0, np.int64))
        index.vectors, index._given = codes, options["catalyser"]
        index._build()
        return index

    def _kept(self, vectors: np.ndarray) -> np.ndarray:
        """Codes, `(n, spheres * bytes)` uint8."""
        codes = self.lattice.encode(self._spread(vectors).reshape(-1, self.lattice.dim))
        return codes.reshape(len(vectors), self.spheres * self.lattice.bytes)

    def _build(self) -> None:
        if self.keep_points:
            self._points = self._decoded(self.vectors)

    def _spread(self, vectors: np.ndarray) -> np.ndarray:
        """Unit vectors in the lattice's space, `(n, spheres * dim)` float32."""
        if self.catalyser is not None:
            return self.catalyser.catalyse(vectors)
        vectors = vectors.astype(np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)

    def _decoded(self, codes: np.ndarray) -> np.ndarray:
        points = self.lattice.decode(codes.reshape(-1, self.lattice.bytes))
        return points.reshape(len(codes), self.spheres * self.lattice.dim)

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The first row of each block, and its points as float32."""
        for start in range(0, len(self), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            points = self._points[rows] if self.keep_points else self._decoded(self.vectors[rows])
            yield start, points.astype(np.float32)

    @staticmethod
    def _query_starts(queries: np.ndarray) -> range:
        return range(0, len(queries), BLOCK_QUERIES)
