"""Half a million real vectors: regions of the RSICD images, reduced by PCA; queries from images of their own.

The features are EfficientNet-Lite0's grid of 7 x 7 regions, 1,280 numbers each, out of the feature store. The base is
a random 500,000 of the regions of all images but 200 of the validation and 200 of the test split, whose regions
are the queries: settings are chosen on the former, and figures reported on the latter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm

from cmr_hub.data import load_dataset
from cmr_hub.data.columns import read_column
from cmr_hub.encoders import create_encoder
from cmr_hub.indexes.exact import ExactIndex
from cmr_hub.processing.feature_store import FeatureStore, StoredFeatures
from cmr_hub.utils.files import atomic_file

WIDTH = 96
HELD_OUT = 200  # images of a split
IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class Regions:
    """Unit vectors, and the base's nearest to each query.

    Attributes:
        base: `(n, 96)` float32.
        queries: "validation" and "test" -> `(q, 96)` float32.
        nearest: "validation" and "test" -> `(q,)` int64, the row of the base with the highest cosine.
    """

    base: np.ndarray
    queries: dict[str, np.ndarray]
    nearest: dict[str, np.ndarray]


def load_regions(cache: Path, data_dir: Path | None, items: int, queries: int) -> Regions:
    """The vectors from `cache`, made there first where it has none of these sizes."""
    path = cache / f"regions-{items}-{queries}.safetensors"
    if not path.exists():
        with atomic_file(path) as scratch:
            save_file(_make(data_dir, items, queries), scratch)
    arrays = load_file(path)
    splits = ("validation", "test")
    return Regions(
        arrays["base"],
        {split: arrays[f"{split}_queries"] for split in splits},
        {split: arrays[f"{split}_nearest"] for split in splits},
    )


def _make(data_dir: Path | None, items: int, queries: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    store = FeatureStore(create_encoder("image", "efficientnet-lite0", grid=7))
    images = {}
    held_out = {}
    for split, dataset in load_dataset("rsicd", data_dir).items():
        stored = store.stored(read_column(dataset, "image"), show_progress=True)
        rows = rng.permutation(len(stored))
        count = 0 if split == "train" else HELD_OUT
        images[split] = (stored, np.sort(rows[count:]))
        if count:
            held_out[split] = (stored, np.sort(rows[:count]))
    mean, axes = _principal_axes([*images.values()])
    base = np.concatenate([_reduced(*part, mean, axes) for part in images.values()])
    arrays = {"base": base[np.sort(rng.permutation(len(base))[:items])]}
    index = ExactIndex(arrays["base"])
    for split, part in held_out.items():
        asked = rng.permutation(_reduced(*part, mean, axes))[:queries]
        arrays[f"{split}_queries"] = asked
        arrays[f"{split}_nearest"] = index.search(asked, 1)[1][:, 0]
    return arrays


def _principal_axes(parts: list[tuple[StoredFeatures, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(1280,)` and the first axes `(1280, 96)` of all regions of these images."""
    total, products, count = 0.0, 0.0, 0
    for features in tqdm(chain.from_iterable(_blocks(*part) for part in parts), "PCA", unit="block"):
        total, count = total + features.sum(axis=0, dtype=np.float64), count + len(features)
        products = products + (features.T @ features).astype(np.float64)
    mean = total / count
    _, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    return mean.astype(np.float32), np.ascontiguousarray(vectors[:, ::-1][:, :WIDTH], np.float32)


def _reduced(stored: StoredFeatures, rows: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    reduced = np.concatenate([(features - mean) @ axes for features in _blocks(stored, rows)])
    return reduced / np.linalg.norm(reduced, axis=1, keepdims=True)


def _blocks(stored: StoredFeatures, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The regions of some images after others, `(regions, 1280)` float32."""
    for start in range(0, len(rows), IMAGES_AT_ONCE):
        yield stored[rows[start : start + IMAGES_AT_ONCE].tolist()].flatten(0, 1).numpy()
