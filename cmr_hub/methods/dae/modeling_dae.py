"""The bimodal deep autoencoder of Ngiam et al. (ICML 2011): one shared code that reconstructs both modalities."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerCallback

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.modeling.standardizer import FitStandardizers, Standardizer

from .configuration_dae import DAEConfig


def reconstruction_loss(
    image: torch.Tensor, text: torch.Tensor, image_guess: torch.Tensor, text_guess: torch.Tensor
) -> torch.Tensor:
    """Squared errors of both reconstructions, each a mean over its dimensions, so that both sides weigh the same."""
    return F.mse_loss(image_guess, image) + F.mse_loss(text_guess, text)


@register_method("dae", display_order=90)
class DAEModel(CMRModel):
    """One layer and one decoder per modality, and a bottleneck between them.

    To embed one modality, the other is set to zero, the mean of standardised features.
    """

    title = "DAE"
    paper = "Ngiam et al., Multimodal Deep Learning, ICML 2011"
    supervision = "unsupervised"
    representation = "real-valued"
    config_class = DAEConfig
    config: DAEConfig

    def __init__(self, config: DAEConfig):
        super().__init__(config)
        self.image_standardizer = Standardizer(config.image_dim)
        self.text_standardizer = Standardizer(config.text_dim)
        self.image_encoder = nn.Linear(config.image_dim, config.hidden_dim)
        self.text_encoder = nn.Linear(config.text_dim, config.hidden_dim)
        self.bottleneck = nn.Linear(2 * config.hidden_dim, config.embed_dim)
        self.image_decoder = self._decoder(config.image_dim)
        self.text_decoder = self._decoder(config.text_dim)
        self.post_init()

    def _decoder(self, dim: int) -> nn.Sequential:
        hidden = self.config.hidden_dim
        return nn.Sequential(nn.Linear(self.config.embed_dim, hidden), nn.Tanh(), nn.Linear(hidden, dim))

    def encode(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Standardised `(n, image_dim)` and `(n, text_dim)` features to the `(n, embed_dim)` bottleneck."""
        hidden = torch.cat([self.image_encoder(image), self.text_encoder(text)], dim=1)
        return torch.tanh(self.bottleneck(torch.tanh(hidden)))

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        image = self.image_standardizer(image_features)
        return self.encode(image, image.new_zeros(image.shape[0], self.config.text_dim))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        text = self.text_standardizer(text_features)
        return self.encode(text.new_zeros(text.shape[0], self.config.image_dim), text)

    @property
    def loss_weights(self) -> dict[str, float]:
        return dict.fromkeys(("both", "image_only", "text_only"), 1 / 3)

    def compute_loss(
        self, output: CMROutput, image_features: torch.Tensor, text_features: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Reconstruction of both modalities from both together and from each alone."""
        image, text = self.image_standardizer(image_features), self.text_standardizer(text_features)
        image_code, text_code = output.embeds
        codes = {"both": self.encode(image, text), "image_only": image_code, "text_only": text_code}
        return {
            case: reconstruction_loss(image, text, self.image_decoder(code), self.text_decoder(code))
            for case, code in codes.items()
        }

    def training_callbacks(self) -> list[TrainerCallback]:
        return [FitStandardizers()]
