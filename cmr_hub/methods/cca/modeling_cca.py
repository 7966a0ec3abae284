"""Canonical correlation analysis, regularised, in closed form. Equation numbers: the README beside this."""

from __future__ import annotations

import torch

from ...modeling_cmr import ClosedFormCMRModel
from ...solvers import canonical_pairs
from .configuration_cca import CCAConfig


class CCAModel(ClosedFormCMRModel):
    """Linear projections of both sides onto their canonical variates."""

    title = "CCA"
    paper = "Hotelling, Relations Between Two Sets of Variates, Biometrika 1936"
    supervision = "unsupervised"
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
