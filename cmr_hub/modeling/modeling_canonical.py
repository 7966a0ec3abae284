"""What methods in the space of canonical variates share: CCA itself, and hashing made for one kind of data."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch.nn import functional as F

from .configuration_canonical import CanonicalHashConfig
from .configuration_cmr import CMRConfig
from .modeling_cmr import ClosedFormCMRModel
from .modeling_hashing import HashingMixin
from .solvers import canonical_pairs


class CanonicalModel(ClosedFormCMRModel, abstract=True):
    """Linear projections of both sides onto their canonical variates.

    Args:
        config: with `regularization` and `correlation_power`.
        components: number of canonical pairs.
    """

    image_mean: torch.Tensor
    image_projection: torch.Tensor
    text_mean: torch.Tensor
    text_projection: torch.Tensor
    correlations: torch.Tensor

    def __init__(self, config: CMRConfig, components: int):
        super().__init__(config)
        for modality, dim in (("image", config.image_dim), ("text", config.text_dim)):
            self.register_buffer(f"{modality}_mean", torch.zeros(dim))
            self.register_buffer(f"{modality}_projection", torch.zeros(dim, components))
        self.register_buffer("correlations", torch.zeros(components))

    def _solve(self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None) -> None:
        image_mean, text_mean = image_features.mean(dim=0), text_features.mean(dim=0)
        image_projection, text_projection, correlations = canonical_pairs(
            image_features - image_mean,
            text_features - text_mean,
            len(self.correlations),
            self.config.regularization,
        )
        self.image_mean.copy_(image_mean)
        self.image_projection.copy_(image_projection)
        self.text_mean.copy_(text_mean)
        self.text_projection.copy_(text_projection)
        self.correlations.copy_(correlations)

    def image_variates(self, image_features: torch.Tensor) -> torch.Tensor:
        """`(n, image_dim)` features in the common space, `(n, components)`; of mean zero over the training images."""
        return self._project(image_features, self.image_mean, self.image_projection)

    def text_variates(self, text_features: torch.Tensor) -> torch.Tensor:
        """`(n, text_dim)` features in the common space, likewise."""
        return self._project(text_features, self.text_mean, self.text_projection)

    def _project(self, features: torch.Tensor, mean: torch.Tensor, projection: torch.Tensor) -> torch.Tensor:
        return (features - mean) @ projection * self.correlations**self.config.correlation_power


class CanonicalHashModel(HashingMixin, CanonicalModel, abstract=True):
    """A hashing method for one kind of data, used across two.

    CCA makes of images and texts points of one space, and the hash functions are learned from the points of both sides
    together.

    Canonical variates are compared by cosine, so that a point is a vector of variates of unit length; the training
    points' mean is taken off. A method gives `_learn` and `_hash`.
    """

    config_class = CanonicalHashConfig
    config: CanonicalHashConfig
    centre: torch.Tensor

    def __init__(self, config: CanonicalHashConfig):
        super().__init__(config, config.components)
        self.register_buffer("centre", torch.zeros(config.components))

    @abstractmethod
    def _learn(self, points: torch.Tensor) -> None:
        """Fill the hash functions' buffers from `(n, components)` float64 points, of mean zero, of both sides."""

    @abstractmethod
    def _hash(self, points: torch.Tensor) -> torch.Tensor:
        """`(n, bits)` values, whose signs are the code, of `(n, components)` points."""

    def _solve(self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None) -> None:
        super()._solve(image_features, text_features, labels)
        image, text = image_features.to(self.dtype), text_features.to(self.dtype)
        variates = torch.cat([self.image_variates(image), self.text_variates(text)])
        self.centre.copy_(F.normalize(variates, dim=1).mean(dim=0))
        self._learn(self._points(variates).double())

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        return self._hash(self._points(self.image_variates(image_features)))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        return self._hash(self._points(self.text_variates(text_features)))

    def _points(self, variates: torch.Tensor) -> torch.Tensor:
        return F.normalize(variates, dim=1) - self.centre
