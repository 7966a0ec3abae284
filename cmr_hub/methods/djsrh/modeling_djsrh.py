"""DJSRH: deep joint-semantics reconstructing hashing (Su et al., ICCV 2019)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerCallback

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.modeling.modeling_hashing import HashingMixin
from cmr_hub.modeling.standardizer import FitStandardizers, Standardizer

from .configuration_djsrh import DJSRHConfig


def cosines(features: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """`(n, m)` cosines between `(n, d)` and `(m, d)` rows; a row of zeros is alike to nothing."""
    return F.normalize(features, dim=1) @ F.normalize(others, dim=1).T


def joint_affinity(image: torch.Tensor, text: torch.Tensor, beta: float, eta: float) -> torch.Tensor:
    """S = (1 - eta) S~ + eta S~ S~^T / m with S~ = beta S_I + (1 - beta) S_T; all `(m, m)`."""
    first = beta * image + (1 - beta) * text
    return (1 - eta) * first + eta * first @ first.T / len(first)


def reconstruction_terms(
    image_codes: torch.Tensor, text_codes: torch.Tensor, target: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Mean squared errors of the cosines of `(m, bits)` codes against an `(m, m)` target, by the pairs compared."""
    return {
        "image_text": F.mse_loss(cosines(image_codes, text_codes), target),
        "image_image": F.mse_loss(cosines(image_codes, image_codes), target),
        "text_text": F.mse_loss(cosines(text_codes, text_codes), target),
    }


class SharpenCodes(TrainerCallback):
    """Algorithm 1, line 3: alpha = sqrt(t) in epoch t, counted from 1; also where a resumed training goes on."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kwargs["model"].alpha.fill_(math.sqrt(math.floor(state.epoch) + 1))


@register_method("djsrh", display_order=200)
class DJSRHModel(HashingMixin, CMRModel):
    """A linear layer on the frozen image features, a perceptron on the text features, and tanh(alpha H) above both."""

    title = "DJSRH"
    paper = (
        "Su et al., Deep Joint-Semantics Reconstructing Hashing for Large-Scale Unsupervised Cross-Modal Retrieval, "
        "ICCV 2019"
    )
    supervision = "unsupervised"
    representation = "binary"
    config_class = DJSRHConfig
    config: DJSRHConfig
    alpha: torch.Tensor

    def __init__(self, config: DJSRHConfig):
        super().__init__(config)
        self.image_standardizer = Standardizer(config.image_dim)
        self.text_standardizer = Standardizer(config.text_dim)
        self.image_network = nn.Linear(config.image_dim, config.embed_dim)
        self.text_network = nn.Sequential(
            nn.Linear(config.text_dim, config.hidden_dim), nn.ReLU(), nn.Linear(config.hidden_dim, config.embed_dim)
        )
        # Kept with the weights: codes of the epoch that is kept are as sharp as they were when it was measured.
        self.register_buffer("alpha", torch.ones(()))
        self.post_init()

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.alpha * self.image_network(self.image_standardizer(image_features)))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.alpha * self.text_network(self.text_standardizer(text_features)))

    def affinity(self, features: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """S_I or S_T of `(m, d)` features, whose training mean is `(d,)`."""
        if self.config.affinity == "centred":
            features = features - mean
        found = cosines(features, features)
        return 2 * found - 1 if self.config.affinity == "rescaled" else found

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"image_image": self.config.lambda1, "text_text": self.config.lambda2}

    def compute_loss(
        self, output: CMROutput, image_features: torch.Tensor, text_features: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """How far the codes' cosines are from the joint affinity."""
        config = self.config
        joint = joint_affinity(
            self.affinity(image_features, self.image_standardizer.mean),
            self.affinity(text_features, self.text_standardizer.mean),
            config.beta,
            config.eta,
        )
        return reconstruction_terms(*output.embeds, config.mu * joint)

    def training_callbacks(self) -> list[TrainerCallback]:
        return [FitStandardizers(), SharpenCodes()]
