"""Two towers trained by symmetric InfoNCE on pairs alone (van den Oord et al. 2018; Radford et al., ICML 2021)."""

from __future__ import annotations

import math

import torch
from torch import nn

from cmr_hub.methods import register_method
from cmr_hub.modeling.losses import inverse_temperature, pair_logits, symmetric_info_nce
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput

from .configuration_contrastive import ContrastiveConfig


def make_tower(features_dim: int, config: ContrastiveConfig) -> nn.Sequential:
    """From standardised features into the common space: one hidden layer, or none where `hidden_dim` is 0."""
    layers = [nn.LayerNorm(features_dim), nn.Dropout(config.dropout)]
    if config.hidden_dim:
        layers += [nn.Linear(features_dim, config.hidden_dim), nn.GELU(), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, nn.Linear(config.hidden_dim or features_dim, config.embed_dim))


@register_method("contrastive", display_order=50)
class ContrastiveModel(CMRModel):
    """One small tower per modality and a learned temperature: each image must find its text in the batch, and back."""

    title = "Contrastive"
    paper = "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021"
    supervision = "unsupervised"
    representation = "real-valued"
    config_class = ContrastiveConfig
    config: ContrastiveConfig

    def __init__(self, config: ContrastiveConfig):
        super().__init__(config)
        self.image_tower = make_tower(config.image_dim, config)
        self.text_tower = make_tower(config.text_dim, config)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.initial_temperature)))
        self.post_init()

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self.image_tower(image_features)

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self.text_tower(text_features)

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"image_to_text": 0.5, "text_to_image": 0.5}

    def compute_loss(self, output: CMROutput, matching: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """InfoNCE in both directions.

        Args:
            output: of a batch of pairs.
            matching: `(n, n)` booleans, which text describes which image; by default text i describes image i alone.
                Another text of an image, and one that stands word for word under it too, are no wrong answers.
        """
        logits = pair_logits(*output.embeds, inverse_temperature(self.log_scale, training=self.training))
        return symmetric_info_nce(logits, matching)
