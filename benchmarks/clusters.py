"""Vectors like those of a trained common space, made at random."""

from __future__ import annotations

import numpy as np

CLUSTERS = 1_000
BLOCK_ROWS = 1 << 16


def clustered(items: int, width: int, seed: int) -> np.ndarray:
    """`(items, width)` float32 rows of unit length that scatter round 1,000 directions, some of them commoner.

    Centres and scatter have as much spread as each other, less in each further coordinate (by the square root of its
    number), as principal components of embeddings have. The centres are the same for every seed.
    """
    spread = np.arange(1, width + 1, dtype=np.float32) ** -0.5
    fixed = np.random.default_rng(0)
    centres = spread * fixed.standard_normal((CLUSTERS, width), dtype=np.float32)
    shares = fixed.exponential(size=CLUSTERS)
    random = np.random.default_rng(seed)
    rows = np.empty((items, width), np.float32)
    for start in range(0, items, BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        random.standard_normal(dtype=np.float32, out=block)
        block *= spread
        block += centres[random.choice(CLUSTERS, len(block), p=shares / shares.sum())]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return rows
