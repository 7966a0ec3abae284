"""Semantic correlation matching: posteriors over the classes, from what correlates. Equations: the README."""

from __future__ import annotations

from typing import cast

import torch

from cmr_hub.methods import register_method
from cmr_hub.modeling.solvers import canonical_pairs

from ..semantic_matching import SemanticMatchingModel
from .configuration_scm_semantic import SCMSemanticConfig


@register_method("scm_semantic", display_order=120)
class SCMSemanticModel(SemanticMatchingModel):
    """Semantic matching on canonical variates. Both steps are linear, so their product is all that is kept."""

    title = "SCM (semantic)"
    paper = "Rasiwasia et al., A New Approach to Cross-Modal Multimedia Retrieval (both matchings), MM 2010"
    supervision = "supervised"
    representation = "real-valued"
    config_class = SCMSemanticConfig
    config: SCMSemanticConfig

    def _solve(self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor) -> None:
        image_projection, text_projection, _ = canonical_pairs(
            image_features - image_features.mean(dim=0),
            text_features - text_features.mean(dim=0),
            cast(int, self.config.components),  # the configuration sets it
            self.config.correlation_regularization,
        )
        self._fit_classifier("image", image_features, labels, image_projection)
        self._fit_classifier("text", text_features, labels, text_projection)
