"""Small indexes of every kind that needs no server, and what tests of approximate ones measure by."""

import tempfile

import numpy as np
import torch

from cmr_hub import SpreadingVectorsConfig, SpreadingVectorsModel
from cmr_hub.indexes import INDEXES, Index


def projecting_catalyser() -> str:
    """Folder of a catalyser that nobody trained: from 32 to 24 dimensions by an orthogonal projection."""
    width, out = 32, 24
    model = SpreadingVectorsModel(SpreadingVectorsConfig(input_dim=width, hidden_dim=2 * width, output_dim=out))
    eye = torch.eye(width)
    basis = torch.linalg.qr(torch.randn(width, out, generator=torch.Generator().manual_seed(0))).Q.T
    with torch.no_grad():
        for layer, weight in (
            (0, torch.cat([eye, -eye])),
            (3, torch.eye(2 * width)),
            (6, torch.cat([basis, -basis], 1)),
        ):
            model.layers[layer].weight.copy_(weight)  # x = relu(x) - relu(-x)
            model.layers[layer].bias.zero_()
    folder = tempfile.mkdtemp()
    model.save_pretrained(folder)
    return folder


# name -> what it is made with in tests; one line for each index
SETTINGS = {
    "exact": {},
    "faiss": {"factory": "IVF4,Flat", "nprobe": 4, "refine": 2},
    "hamming": {},
    "kd_tree": {},
    "lattice": {"catalyser": projecting_catalyser()},
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


def clustered(n: int, seed: int = 0) -> np.ndarray:
    """`(n, 32)` unit rows round twenty directions, which are the same for every seed."""
    centres = np.random.default_rng(99).normal(size=(20, 32))
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(0, 20, n)] + 0.6 * rng.normal(size=(n, 32))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def slow_search(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The `k` best rows for each query by sorting everything; of equal scores, as float32, the first row first."""
    scores = (queries.astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    return np.array([sorted(range(len(vectors)), key=lambda row: (-score[row], row))[:k] for score in scores])


def recall(found: np.ndarray, true: np.ndarray) -> float:
    """The share of the true rows that were found, the mean over queries."""
    return float(np.mean([np.isin(some, one).mean() for some, one in zip(true, found, strict=True)]))
