"""Semantic matching: images and texts as posteriors over the classes. Equation numbers: the README beside this."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_cmr import ClosedFormCMRModel
from cmr_hub.modeling.solvers import softmax_regression

from .configuration_semantic_matching import SemanticMatchingConfig


@register_method("semantic_matching", display_order=110)
class SemanticMatchingModel(ClosedFormCMRModel):
    """One multi-class logistic regression per modality; an embedding is the posteriors over the classes."""

    title = "SM"
    paper = "Rasiwasia et al., A New Approach to Cross-Modal Multimedia Retrieval (semantic matching), MM 2010"
    supervision = "supervised"
    representation = "real-valued"
    config_class = SemanticMatchingConfig
    config: SemanticMatchingConfig
    image_weight: torch.Tensor
    image_bias: torch.Tensor
    image_center: torch.Tensor
    text_weight: torch.Tensor
    text_bias: torch.Tensor
    text_center: torch.Tensor

    def __init__(self, config: SemanticMatchingConfig):
        super().__init__(config)
        for modality, dim in (("image", config.image_dim), ("text", config.text_dim)):
            self.register_buffer(f"{modality}_weight", torch.zeros(dim, config.num_labels))
            self.register_buffer(f"{modality}_bias", torch.zeros(config.num_labels))
            self.register_buffer(f"{modality}_center", torch.zeros(config.num_labels))
        self.post_init()

    def _solve(self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor) -> None:
        self._fit_classifier("image", image_features, labels)
        self._fit_classifier("text", text_features, labels)

    def _fit_classifier(
        self,
        modality: Literal["image", "text"],
        features: torch.Tensor,
        labels: torch.Tensor,
        projection: torch.Tensor | None = None,
    ) -> None:
        """Fill one side's buffers. With a `(d, k)` projection the classifier sees the features through it."""
        if projection is None:
            weight, bias = softmax_regression(features, labels, self.config.regularization)
        else:
            weight, bias = softmax_regression(features @ projection, labels, self.config.regularization)
            weight = projection @ weight
        self.get_buffer(f"{modality}_weight").copy_(weight)
        self.get_buffer(f"{modality}_bias").copy_(bias)
        if self.config.center:
            self.get_buffer(f"{modality}_center").copy_((features @ weight + bias).softmax(dim=1).mean(dim=0))

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        return F.softmax(image_features @ self.image_weight + self.image_bias, dim=1) - self.image_center

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        return F.softmax(text_features @ self.text_weight + self.text_bias, dim=1) - self.text_center
