"""Small indexes of every kind that needs no server, for tests of what all of them do."""

import numpy as np

from cmr_hub.indexes import INDEXES, Index

# name -> what it is made with in tests; one line for each index
SETTINGS = {
    "exact": {},
    "faiss": {"factory": "IVF4,Flat", "nprobe": 4, "refine": 2},
    "hamming": {},
    "kd_tree": {},
    "lsh": {"tables": 8, "bits": 5, "probes": 8},
}


def vectors_for(name: str, n: int) -> np.ndarray:
    """Random unit rows of width 32, or codes of 64 bits."""
    rng = np.random.default_rng(0)
    if INDEXES[name].representation == "binary":
        return rng.integers(0, 256, (n, 8), dtype=np.uint8)
    vectors = rng.normal(size=(n, 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make(name: str, vectors: np.ndarray, ids: np.ndarray | None = None) -> Index:
    """An index of one kind."""
    return INDEXES[name](vectors, ids, **SETTINGS[name])
