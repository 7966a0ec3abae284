"""DSCMR-Hash: DSCMR's three losses (J1, J2, J3) on values whose signs are a code."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerCallback

from cmr_hub.methods import register_method
from cmr_hub.modeling.losses import (
    add,
    classification_loss,
    label_loss,
    likelihood_loss,
    straight_through_signs,
)
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.modeling.modeling_hashing import HashingMixin
from cmr_hub.modeling.standardizer import CommonScale, FitStandardizers

from .configuration_dscmr_hash import WEIGHTS, DSCMRHashConfig


def invariance_loss(image_values: torch.Tensor, text_values: torch.Tensor) -> torch.Tensor:
    """J3: mean square over pairs and bits of what lies between the two sides of a pair."""
    return F.mse_loss(image_values, text_values)


def quantisation_loss(image_values: torch.Tensor, text_values: torch.Tensor) -> torch.Tensor:
    """DCMH's ||B - F||² + ||B - G||² a pair and bit; B = sign(F + G) is the pair's one code and not learned from."""
    codes = torch.where(image_values + text_values > 0, 1.0, -1.0).to(image_values.dtype)
    return F.mse_loss(image_values, codes) + F.mse_loss(text_values, codes)


def balance_loss(image_values: torch.Tensor, text_values: torch.Tensor) -> torch.Tensor:
    """DCMH's ||F 1||² + ||G 1||² as means: the mean over bits of a bit's squared mean, both sides summed."""
    return add(values.mean(dim=0).square().mean() for values in (image_values, text_values))


def decorrelation_loss(image_values: torch.Tensor, text_values: torch.Tensor) -> torch.Tensor:
    """Mean over pairs of different bits of (mean over items of their product)², both sides summed."""

    def off_diagonal(values: torch.Tensor) -> torch.Tensor:
        products, bits = values.T @ values / len(values), values.shape[1]
        return (products.square().sum() - products.diagonal().square().sum()) / (bits * (bits - 1))

    return off_diagonal(image_values) + off_diagonal(text_values)


@register_method("dscmr_hash", display_order=150)
class DSCMRHashModel(HashingMixin, CMRModel):
    """DSCMR's network, one layer per modality and a shared one, then tanh(alpha x); its classifier sees codes."""

    title = "DSCMR-Hash"
    paper = "cmr_hub, DSCMR with binary codes, after Zhen et al., CVPR 2019"
    supervision = "supervised"
    representation = "binary"
    config_class = DSCMRHashConfig
    config: DSCMRHashConfig
    alpha: torch.Tensor

    def __init__(self, config: DSCMRHashConfig):
        super().__init__(config)
        self.image_standardizer = CommonScale(config.image_dim)
        self.text_standardizer = CommonScale(config.text_dim)
        self.image_branch = nn.Linear(config.image_dim, config.hidden_dim)
        self.text_branch = nn.Linear(config.text_dim, config.hidden_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.shared = nn.Linear(config.hidden_dim, config.embed_dim)
        self.classifier = nn.Linear(config.embed_dim, config.num_labels)
        self.register_buffer("alpha", torch.ones(()))
        self.post_init()

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self._values(self.image_branch(self.input_dropout(self.image_standardizer(image_features))))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self._values(self.text_branch(self.input_dropout(self.text_standardizer(text_features))))

    def _values(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.alpha * self.shared(self.dropout(F.relu(hidden))))

    def classify(self, embeds: torch.Tensor) -> torch.Tensor:
        inputs = straight_through_signs(embeds) if self.config.straight_through else embeds
        return self.config.class_scale * self.classifier(inputs)

    def training_callbacks(self) -> list[TrainerCallback]:
        return [FitStandardizers(), Continuation()]

    @property
    def loss_weights(self) -> dict[str, float]:
        return {name: getattr(self.config, f"{name}_weight") for name in WEIGHTS}

    def compute_loss(self, output: CMROutput, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The terms whose weight is not 0."""
        config, values = self.config, output.embeds
        label = {"softmax": classification_loss, "frobenius": label_loss}[config.label_loss]
        terms = {
            "label": lambda: label(*output.logits, labels),
            "likelihood": lambda: likelihood_loss(*values, labels, config.similarity_scale, config.similarity_margin),
            "invariance": lambda: invariance_loss(*values),
            "quantisation": lambda: quantisation_loss(*values),
            "balance": lambda: balance_loss(*values),
            "decorrelation": lambda: decorrelation_loss(*values),
        }
        return {name: terms[name]() for name, weight in self.loss_weights.items() if weight}


class Continuation(TrainerCallback):
    """Sharpens tanh(alpha x) towards the sign, epoch by epoch: alpha grows evenly from 1 to `final_alpha`."""

    def on_epoch_begin(self, args, state, control, model, **kwargs):
        last = max(1, args.num_train_epochs - 1)
        done = min(1.0, round(state.epoch or 0) / last)
        model.alpha.fill_(1 + (model.config.final_alpha - 1) * done)
