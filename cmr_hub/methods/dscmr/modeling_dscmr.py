"""DSCMR: deep supervised cross-modal retrieval (Zhen et al., CVPR 2019). J1, J2 and J3 are the paper's names."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from cmr_hub.methods import register_method
from cmr_hub.modeling.losses import (
    add,
    label_loss,
    label_similarity,
    modality_invariance_loss,
    pairwise_likelihood_loss,
)
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput

from .configuration_dscmr import DSCMRConfig


def discrimination_loss(image_embeds: torch.Tensor, text_embeds: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """J2: pairwise likelihood between images and texts, among images, and among texts; theta is half the cosine."""
    similar = label_similarity(labels)
    image, text = F.normalize(image_embeds, dim=1), F.normalize(text_embeds, dim=1)
    return add(
        pairwise_likelihood_loss(a @ b.T / 2, similar) for a, b in ((image, text), (image, image), (text, text))
    )


@register_method("dscmr", display_order=10)
class DSCMRModel(CMRModel):
    """Two one-layer branches, one shared linear layer into the common space, one shared linear classifier above it."""

    title = "DSCMR"
    paper = "Zhen et al., Deep Supervised Cross-Modal Retrieval, CVPR 2019"
    supervision = "supervised"
    representation = "real-valued"
    config_class = DSCMRConfig
    config: DSCMRConfig

    def __init__(self, config: DSCMRConfig):
        super().__init__(config)
        self.image_branch = nn.Linear(config.image_dim, config.hidden_dim)
        self.text_branch = nn.Linear(config.text_dim, config.hidden_dim)
        self.shared = nn.Linear(config.hidden_dim, config.embed_dim)
        self.classifier = nn.Linear(config.embed_dim, config.num_labels)
        self.post_init()

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self.shared(F.relu(self.image_branch(image_features)))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self.shared(F.relu(self.text_branch(text_features)))

    def classify(self, embeds: torch.Tensor) -> torch.Tensor:
        return self.classifier(embeds)

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"J2": self.config.loss_lambda, "J3": self.config.loss_eta}

    def compute_loss(self, output: CMROutput, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The terms of J = J1 + lambda J2 + eta J3."""
        norm = self.config.residual_norm
        return {
            "J1": label_loss(*output.logits, labels, norm),
            "J2": discrimination_loss(*output.embeds, labels),
            "J3": modality_invariance_loss(*output.embeds, norm),
        }
