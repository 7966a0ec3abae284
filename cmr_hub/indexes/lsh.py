"""Locality-sensitive hashing: the sides of random hyperplanes make a key, and near vectors often share it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cmr_hub.errors import InputError
from cmr_hub.indexes import register_index

from .base import Filter, Index, check_k
from .nearest import best, padded

BLOCK_ROWS = 1 << 14
BLOCK_QUERIES = 64
MAX_TABLES = 1024  # each takes 8 bytes an item
MAX_BITS = 32  # of a key
FLIPPED_AMONG = 10  # the bits nearest to their hyperplanes; other buckets are not probed


@register_index("lsh")
class LSHIndex(Index):
    """Random hyperplanes (Charikar, STOC 2002) in several tables, probed in several buckets each.

    Two vectors lie on the same side of a random hyperplane with probability 1 - angle / pi. A table's key is `bits`
    such sides. Of a query the buckets whose keys flip the bits with the smallest margins are looked at as well (Lv et
    al., VLDB 2007), and all that is found is scored exactly: only misses make it approximate. A table takes 8 bytes
    an item. Keys are computed anew when items come or go.

    Args:
        vectors, ids: as for [`Index`].
        tables: up to 1024; more find more, and cost as much more.
        bits: of a key, up to 32; by default about log2(n / 16), so that a bucket has some 16 items.
        probes: buckets looked at in each table, up to 1024.
        seed: of the hyperplanes.

    Raises:
        InputError: also options out of range.

    Example:
    ```python
    >>> import numpy as np
    >>> vectors = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
    >>> vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    >>> LSHIndex(vectors).search(vectors[7:8], k=1)[1].tolist()
    [[7]]
    ```
    """

    approximate = True

    def __init__(
        self,
        vectors: np.ndarray,
        ids: np.ndarray | None = None,
        *,
        tables: int = 16,
        bits: int | None = None,
        probes: int = 16,
        seed: int = 0,
    ):
        for option, value, most in (
            ("tables", tables, MAX_TABLES),
            ("bits", 1 if bits is None else bits, MAX_BITS),
            ("probes", probes, 1 << FLIPPED_AMONG),
        ):
            if not (isinstance(value, int) and 1 <= value <= most):
                raise InputError(f"{option} is {value!r:.50}; it is from 1 to {most}.")
        self.tables, self.bits, self.probes, self.seed = tables, bits, probes, seed
        super().__init__(vectors, ids)

    @property
    def options(self) -> dict[str, Any]:
        return {"tables": self.tables, "bits": self.bits, "probes": self.probes, "seed": self.seed}

    def search(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
        self.check(queries)
        check_k(k)
        queries = np.ascontiguousarray(queries, np.float32)
        allowed = self._allowed(filter)
        all_scores, all_rows = [], []
        for start in range(0, len(queries), BLOCK_QUERIES):
            block = queries[start : start + BLOCK_QUERIES]
            starts, ends = self._buckets(probed_keys(margins(block, self._planes), self.probes))
            for query, start_of, end_of in zip(block, starts, ends, strict=True):
                rows = self._in_buckets(start_of, end_of)
                if allowed is not None:
                    rows = rows[allowed[rows]]
                scores = self.vectors[rows] @ query
                order = best(scores, k)
                all_scores.append(scores[order])
                all_rows.append(rows[order])
        scores, rows = padded(all_scores, all_rows, k)
        return scores, self._ids_of(rows)

    def _build(self) -> None:
        """Sort each table's keys, so that a bucket is a range."""
        bits = self.bits or min(MAX_BITS, max(4, round(math.log2(max(len(self), 1) / 16))))
        self._planes = hyperplanes(self.tables, bits, self.width, self.seed)
        keys = np.empty((self.tables, len(self)), np.uint32)
        for start in range(0, len(self), BLOCK_ROWS):
            block = self.vectors[start : start + BLOCK_ROWS]
            keys[:, start : start + len(block)] = keys_of(margins(block, self._planes)).T
        self._rows = np.empty(keys.shape, np.int32 if len(self) < 1 << 31 else np.int64)
        for table, rows in zip(keys, self._rows, strict=True):
            rows[:] = np.argsort(table, kind="stable")
            table[:] = table[rows]
        self._keys = keys

    def _buckets(self, probed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where in `_rows`, laid end to end, the buckets of `(q, tables, p)` keys start and end, `(q, tables * p)`."""
        bounds = []
        for side in ("left", "right"):
            places = [
                np.searchsorted(keys, probed[:, table], side) + table * len(self)
                for table, keys in enumerate(self._keys)
            ]
            bounds.append(np.concatenate(places, axis=1))
        return bounds[0], bounds[1]

    def _in_buckets(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The rows in some buckets, each once, ascending."""
        sizes = ends - starts
        before = np.cumsum(sizes) - sizes
        places = np.repeat(starts - before, sizes) + np.arange(sizes.sum())
        return np.unique(self._rows.ravel()[places])


def hyperplanes(tables: int, bits: int, width: int, seed: int) -> np.ndarray:
    """Normals of random hyperplanes through the origin, `(tables, bits, width)` float32."""
    return np.random.default_rng(seed).standard_normal((tables, bits, width), dtype=np.float32)


def margins(vectors: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """How far `(n, width)` vectors lie before each hyperplane, `(n, tables, bits)`; negative behind it."""
    tables, bits, width = planes.shape
    return (vectors @ planes.reshape(-1, width).T).reshape(-1, tables, bits)


def keys_of(margins: np.ndarray) -> np.ndarray:
    """The sides of the hyperplanes, `(n, tables)` uint32; the first of up to 32 is the lowest bit.

    Example:
    ```python
    >>> import numpy as np
    >>> keys_of(np.array([[[0.5, -0.1, 2.0]]])).tolist()
    [[5]]
    ```
    """
    packed = np.packbits(margins > 0, axis=-1, bitorder="little")
    whole = np.zeros((*packed.shape[:-1], 4), np.uint8)
    whole[..., : packed.shape[-1]] = packed
    return whole.view("<u4")[..., 0]


def probed_keys(margins: np.ndarray, probes: int) -> np.ndarray:
    """The keys of `(n, tables, bits)` margins and those nearest to them, `(n, tables, p)` uint32.

    A key is as far as the sum of the squared margins of the bits that it flips. Only the ten smallest margins' bits
    are flipped; `p` is less than `probes` where these have fewer combinations.

    Example:
    ```python
    >>> import numpy as np
    >>> sorted(probed_keys(np.array([[[0.5, -0.1, 2.0]]]), 3)[0, 0].tolist())  # none, the second, the first flipped
    [4, 5, 7]
    ```
    """
    bits = margins.shape[-1]
    count = min(bits, FLIPPED_AMONG)
    flipped = np.argsort(np.abs(margins), axis=-1)[..., :count]
    subsets = np.arange(1 << count)[:, None] >> np.arange(count) & 1
    costs = np.take_along_axis(margins, flipped, axis=-1) ** 2 @ subsets.T.astype(margins.dtype)
    probes = min(probes, len(subsets))
    cheapest = np.argpartition(costs, probes - 1, axis=-1)[..., :probes]
    flips = (subsets[cheapest] << flipped[..., None, :]).sum(axis=-1)
    return keys_of(margins)[..., None] ^ flips.astype(np.uint32)
