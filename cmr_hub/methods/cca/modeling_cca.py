"""Canonical correlation analysis, regularised, in closed form. Equation numbers: the README beside this."""

from __future__ import annotations

import torch

from ...modeling_cmr import ClosedFormCMRModel
from .configuration_cca import CCAConfig


def inverse_square_root(covariance: torch.Tensor) -> torch.Tensor:
    """C^(-1/2) of a symmetric positive definite `(d, d)` matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors / values.sqrt() @ vectors.T


def canonical_pairs(
    x: torch.Tensor, y: torch.Tensor, components: int, regularization: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Directions that make x and y correlate most (eqs 1 to 3).

    Args:
        x: centred `(n, d_x)` data.
        y: centred `(n, d_y)` data.
        components: how many pairs, at most min(d_x, d_y).
        regularization: ridge, as a share of the mean variance.

    Returns:
        `(d_x, components)` and `(d_y, components)` projections, whose variates have unit regularised variance, and
        the `(components,)` canonical correlations, largest first.
    """

    def covariance(data: torch.Tensor) -> torch.Tensor:
        matrix = data.T @ data / len(data)
        return matrix + regularization * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=data.dtype)

    whiten_x, whiten_y = inverse_square_root(covariance(x)), inverse_square_root(covariance(y))
    left, correlations, right = torch.linalg.svd(whiten_x @ (x.T @ y / len(x)) @ whiten_y, full_matrices=False)
    return whiten_x @ left[:, :components], whiten_y @ right.T[:, :components], correlations[:components]


class CCAModel(ClosedFormCMRModel):
    """Linear projections of both sides onto their canonical variates."""

    config_class = CCAConfig
    config: CCAConfig

    def __init__(self, config: CCAConfig):
        super().__init__(config)
        for side, dim in (("image", config.image_dim), ("text", config.text_dim)):
            self.register_buffer(f"{side}_mean", torch.zeros(dim))
            self.register_buffer(f"{side}_projection", torch.zeros(dim, config.embed_dim))
        self.register_buffer("correlations", torch.zeros(config.embed_dim))
        self.post_init()

    def _solve(self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None) -> None:
        image_mean, text_mean = image_features.mean(dim=0), text_features.mean(dim=0)
        image_projection, text_projection, correlations = canonical_pairs(
            image_features - image_mean, text_features - text_mean, self.config.embed_dim, self.config.regularization
        )
        self.image_mean.copy_(image_mean)
        self.image_projection.copy_(image_projection)
        self.text_mean.copy_(text_mean)
        self.text_projection.copy_(text_projection)
        self.correlations.copy_(correlations)

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self._project(image_features, self.image_mean, self.image_projection)

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self._project(text_features, self.text_mean, self.text_projection)

    def _project(self, features: torch.Tensor, mean: torch.Tensor, projection: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        return (features - mean) @ projection * self.correlations**self.config.correlation_power
