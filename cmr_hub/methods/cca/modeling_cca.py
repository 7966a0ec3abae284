"""Canonical correlation analysis, regularised, in closed form. Equation numbers: the README beside this."""

from __future__ import annotations

import torch

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_canonical import CanonicalModel

from .configuration_cca import CCAConfig


@register_method("cca", display_order=140)
class CCAModel(CanonicalModel):
    """Linear projections of both sides onto their canonical variates."""

    title = "CCA"
    paper = "Hotelling, Relations Between Two Sets of Variates, Biometrika 1936"
    supervision = "unsupervised"
    representation = "real-valued"
    config_class = CCAConfig
    config: CCAConfig

    def __init__(self, config: CCAConfig):
        super().__init__(config, config.embed_dim)
        self.post_init()

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        return self.image_variates(image_features)

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        return self.text_variates(text_features)
