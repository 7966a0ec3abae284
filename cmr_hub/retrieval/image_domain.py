"""Whether images are like those that a checkpoint was trained on.

Features of the training images lie close to a subspace of few dimensions. How far another image's features lie from it
says whether it is of the same kind: photos next to emoji, aerial photos next to photos taken on the ground.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from safetensors.numpy import save_file
from scipy.linalg import eigh

from cmr_hub.data import DATASETS
from cmr_hub.encoders.base import Encoder
from cmr_hub.errors import CheckpointError
from cmr_hub.processing.feature_store import SHIPPED
from cmr_hub.utils.checkpoint_files import array_of, read_tensors

DOMAIN_FILE = "image_domain.safetensors"
# Measured with EfficientNet-Lite0 and 800 training images of each of emoji, Flickr8k, RSICD (aerial photos) and Pascal
# Sentence. Beyond the limit are 1 to 3 % of the test images of the same set, 2 to 4 % between the two sets of everyday
# photos, 94 to 99 % of photos for emoji, 63 to 84 % of emoji for photos, 36 to 65 % between aerial and everyday
# photos. Of galleries, by 32 of their images, at most 0.3 % of the same kind are taken for another, and none of
# another kind for the same. What gives hardly any features (noise) is no further away than training images.
COMPONENTS = 64
ROWS_PER_COMPONENT = 12  # of fewer training images fewer components
MIN_ROWS = 200
QUANTILE = 0.99  # of the distances of held-out training images; what is further away is unlike them
SAMPLE = 32  # images of a gallery that are looked at
MAX_SHARE = 0.15  # of them that may lie beyond the limit
MIN_FAR = 3  # of a small gallery's


class ImageDomain:
    """The subspace that the features of a checkpoint's training images lie close to.

    Args:
        mean: `(d,)`, of the features.
        components: `(k, d)` orthonormal directions of their largest variance.
        limit: squared distance from the subspace beyond which an image is unlike the training images.

    Example:
    ```python
    >>> rows = np.random.default_rng(0).normal(size=(200, 3)) * [1, 1, 0.01]
    >>> ImageDomain.fit(rows, components=2).is_far(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])).tolist()
    [False, True]
    ```
    """

    def __init__(self, mean: np.ndarray, components: np.ndarray, limit: float):
        self.mean, self.components, self.limit = mean, components, limit

    @classmethod
    def fit(cls, features: np.ndarray, components: int = COMPONENTS) -> Self | None:
        """Learn the subspace from three quarters of the rows, and the limit from the others; None of too few rows.

        Args:
            features: `(n, d)` of training images; of regions `(n, regions, d)`, whose mean counts.
            components: at most so many.
        """
        rows = pooled(features)
        if len(rows) < MIN_ROWS:
            return None
        is_held_out = np.arange(len(rows)) % 4 == 0
        learned = rows[~is_held_out]
        mean = learned.mean(axis=0)
        count = min(components, len(learned) // ROWS_PER_COMPONENT, rows.shape[1] - 1)
        width = rows.shape[1]
        centred = learned - mean
        directions = eigh(centred.T @ centred, subset_by_index=(width - count, width - 1))[1]  # (d, k)
        domain = cls(mean, np.ascontiguousarray(directions.T, dtype=np.float32), 0.0)
        domain.limit = float(np.quantile(domain.distances(rows[is_held_out]), QUANTILE))
        return domain

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Squared distances from the subspace, `(n,)`, of features as in [`fit`]."""
        rows = pooled(features) - self.mean
        return np.square(rows).sum(axis=1) - np.square(rows @ self.components.T).sum(axis=1)

    def is_far(self, features: np.ndarray) -> np.ndarray:
        """Which images are unlike those of the training, `(n,)` booleans, of features as in [`fit`]."""
        return self.distances(features) > self.limit

    def save(self, folder: Path) -> None:
        """Write [`DOMAIN_FILE`] into a folder."""
        arrays = {"mean": self.mean, "components": self.components, "limit": np.array([self.limit])}
        save_file({name: array.astype(np.float32) for name, array in arrays.items()}, folder / DOMAIN_FILE)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read what [`save`] wrote; None where there is no such file.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = folder / DOMAIN_FILE
        if not path.exists():
            return None
        arrays = read_tensors(path)
        mean, components = array_of(arrays, "mean", "f", 1, path), array_of(arrays, "components", "f", 2, path)
        limit = array_of(arrays, "limit", "f", 1, path)
        if components.shape[1:] != mean.shape or limit.shape != (1,):
            raise CheckpointError(f"{path} has arrays that do not fit each other. Fetch it again.")
        return cls(mean, components, float(limit[0]))


def pooled(features: np.ndarray) -> np.ndarray:
    """Features `(n, d)` as float32; of regions `(n, regions, d)` their mean."""
    rows = np.asarray(features, np.float32)
    return rows.mean(axis=1) if rows.ndim == 3 else rows


def shipped_domain(dataset: str, encoder: Encoder) -> ImageDomain | None:
    """The domain of a data set whose images' features come with the package; None of any other.

    It stands for what checkpoints of before domains were stored do not have.

    Args:
        dataset: name of the data set.
        encoder: of its images.
    """
    if dataset not in DATASETS or not DATASETS[dataset].info.embedded:
        return None
    return _domain_of(SHIPPED / f"{encoder.name}-{encoder.fingerprint}.safetensors")


@cache
def _domain_of(features: Path) -> ImageDomain | None:
    return ImageDomain.fit(read_tensors(features)["features"]) if features.exists() else None


def describe_image(domain: ImageDomain, features: np.ndarray) -> str:
    """Say that an image, of features `(1, d)`, is unlike those of the training; "" where it is not."""
    if not domain.is_far(features).any():
        return ""
    return "The image is unlike those that the checkpoint was trained on: the hits may have nothing to do with it."


def describe_gallery(domain: ImageDomain, features: np.ndarray) -> str:
    """Say that a sample of a gallery's images is unlike those of the training; "" where it is not."""
    far = domain.is_far(features)
    share = far.mean()
    if share <= MAX_SHARE or far.sum() < MIN_FAR:
        return ""
    return (
        f"The gallery's images are unlike those that the checkpoint was trained on ({share:.0%} of a sample): what is "
        "found in it may have nothing to do with the query. Train a checkpoint on images of this kind."
    ).replace("%", " %", 1)
