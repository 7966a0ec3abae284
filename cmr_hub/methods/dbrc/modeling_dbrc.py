"""DBRC: deep binary reconstruction (Li, Hu and Nie, MM 2017), an autoencoder whose bottleneck is a code."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerCallback

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.modeling.modeling_hashing import HashingMixin
from cmr_hub.modeling.standardizer import FitStandardizers, Standardizer

from .configuration_dbrc import DBRCConfig


def sharpness_penalty(alpha: torch.Tensor) -> torch.Tensor:
    """R(alpha) = 1 / alpha^2: the flatter the adaptive tanh, the larger."""
    return alpha.pow(-2)


def reconstruction_loss(
    image: torch.Tensor, text: torch.Tensor, image_guess: torch.Tensor, text_guess: torch.Tensor
) -> torch.Tensor:
    """Squared errors of both sides' reconstructions, each a mean over its dimensions."""
    return F.mse_loss(image_guess, image) + F.mse_loss(text_guess, text)


def regression_loss(image_codes: torch.Tensor, text_codes: torch.Tensor, joint_codes: torch.Tensor) -> torch.Tensor:
    """Mean squared errors of both hash functions against the joint code, which they do not move; all `(n, bits)`."""
    target = joint_codes.detach()
    return F.mse_loss(image_codes, target) + F.mse_loss(text_codes, target)


class ATanh(nn.Module):
    """tanh(alpha h) with a slope that is learned: between a line and a sign."""

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as an ordinary tanh."""
        nn.init.ones_(self.alpha)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.alpha * hidden)


@register_method("dbrc", display_order=210)
class DBRCModel(HashingMixin, CMRModel):
    """One encoder of pairs into a binary layer; one decoder and one hash function per modality."""

    title = "DBRC"
    paper = "Li, Hu & Nie, Deep Binary Reconstruction for Cross-Modal Hashing, MM 2017"
    supervision = "unsupervised"
    representation = "binary"
    config_class = DBRCConfig
    config: DBRCConfig

    def __init__(self, config: DBRCConfig):
        super().__init__(config)
        dims, bits = {"image": config.image_dim, "text": config.text_dim}, config.embed_dim
        self.image_standardizer = Standardizer(config.image_dim)
        self.text_standardizer = Standardizer(config.text_dim)
        self.joint_encoder = self._perceptron(sum(dims.values()), bits)
        self.decoders = nn.ModuleDict({modality: self._perceptron(bits, dim) for modality, dim in dims.items()})
        self.hash_functions = nn.ModuleDict({modality: self._perceptron(dim, bits) for modality, dim in dims.items()})
        self.binary = ATanh()
        self.post_init()

    def _perceptron(self, dim: int, output_dim: int) -> nn.Sequential:
        hidden = self.config.hidden_dim
        return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, output_dim))

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self.binary(self.hash_functions["image"](self.image_standardizer(image_features)))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self.binary(self.hash_functions["text"](self.text_standardizer(text_features)))

    def get_pair_features(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """The joint code of `n` items whose two sides are both given, `(n, bits)`."""
        features = self.image_standardizer(image_features), self.text_standardizer(text_features)
        return self.binary(self.joint_encoder(torch.cat(features, dim=1)))

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"hash_regression": self.config.hash_weight, "sharpness": self.config.sharpness_weight}

    def compute_loss(
        self, output: CMROutput, image_features: torch.Tensor, text_features: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Reconstruction of both modalities from the joint code and from each one's own, regression and sharpness."""
        image, text = self.image_standardizer(image_features), self.text_standardizer(text_features)
        joint = self.get_pair_features(image_features, text_features)
        image_code, text_code = output.embeds
        codes = {"joint": joint, "image": image_code, "text": text_code}
        terms = {
            f"{name}_reconstruction": reconstruction_loss(
                image, text, self.decoders["image"](code), self.decoders["text"](code)
            )
            for name, code in codes.items()
        }
        terms["hash_regression"] = regression_loss(image_code, text_code, joint)
        terms["sharpness"] = sharpness_penalty(self.binary.alpha)
        return terms

    def training_callbacks(self) -> list[TrainerCallback]:
        return [FitStandardizers()]
