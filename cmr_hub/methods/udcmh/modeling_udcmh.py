"""UDCMH: unsupervised deep cross-modal hashing (Wu et al., IJCAI 2018): networks that learn binary latent factors."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerCallback

from cmr_hub.methods import register_method
from cmr_hub.modeling.losses import add
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.modeling.modeling_hashing import HashingMixin
from cmr_hub.modeling.standardizer import FitStandardizers, Standardizer

from .configuration_udcmh import UDCMHConfig
from .factorisation import BinaryFactors, signs

FIRST_SWEEPS = 10  # from random codes; the objective falls by little after that
SWEEPS = 1  # an epoch, from the codes of the last


class SolveCodes(TrainerCallback):
    """Solves the codes of all training items before the first epoch, and again before each other."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model: UDCMHModel = kwargs["model"]
        config, data = model.config, kwargs["train_dataloader"].dataset[:]
        self.features = data["image_features"].to(model.device), data["text_features"].to(model.device)
        self.factors = BinaryFactors.start(
            *self.features,
            bits=config.embed_dim,
            neighbours=config.neighbours,
            laplacian_weight=config.laplacian_weight,
            network_weight=config.network_weight,
            ridge=config.ridge,
            power=config.side_power,
        )
        if state.global_step:  # resumed: the networks know the codes that they were learning
            self.factors.codes = signs(add(model.outputs(*self.features)))
        else:
            self._sweep(model, FIRST_SWEEPS, [])

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model: UDCMHModel = kwargs["model"]
        if state.global_step:
            self._sweep(model, SWEEPS, model.outputs(*self.features))

    def _sweep(self, model: UDCMHModel, sweeps: int, outputs: list[torch.Tensor]) -> None:
        for _ in range(sweeps):
            self.factors.update(outputs)
        model.codes = self.factors.codes.clone()


@register_method("udcmh", display_order=190)
class UDCMHModel(HashingMixin, CMRModel):
    """One perceptron per modality; both learn the codes of a binary factorisation of the training features."""

    title = "UDCMH"
    paper = (
        "Wu et al., Unsupervised Deep Hashing via Binary Latent Factor Models for Large-scale Cross-modal Retrieval, "
        "IJCAI 2018"
    )
    supervision = "unsupervised"
    representation = "binary"
    config_class = UDCMHConfig
    config: UDCMHConfig
    codes: torch.Tensor

    def __init__(self, config: UDCMHConfig):
        super().__init__(config)
        self.image_standardizer = Standardizer(config.image_dim)
        self.text_standardizer = Standardizer(config.text_dim)
        self.image_network = self._perceptron(config.image_dim)
        self.text_network = self._perceptron(config.text_dim)
        # Of the training items, while the model trains; as many as there are.
        self.register_buffer("codes", torch.zeros(0, config.embed_dim), persistent=False)
        self.post_init()

    def _perceptron(self, dim: int) -> nn.Sequential:
        hidden = self.config.hidden_dim
        return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, self.config.embed_dim))

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self.image_network(self.image_standardizer(image_features))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self.text_network(self.text_standardizer(text_features))

    @torch.no_grad()
    def outputs(self, image_features: torch.Tensor, text_features: torch.Tensor) -> list[torch.Tensor]:
        """H_v of both sides, `(n, bits)`, without gradients."""
        return [self.get_image_features(image_features), self.get_text_features(text_features)]

    def compute_loss(self, output: CMROutput, rows: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """How far the networks are from the items' codes.

        Args:
            output: of a batch of pairs.
            rows: `(n,)` int64, which training items these are, for their codes. Items that have none, as those of a
                validation split, are compared with the codes next to both outputs.
        """
        image, text = output.embeds
        is_known = self.training and rows is not None and len(self.codes)
        codes = self.codes[rows] if is_known else signs(image.detach() + text.detach())
        return {"image_regression": F.mse_loss(image, codes), "text_regression": F.mse_loss(text, codes)}

    def training_callbacks(self) -> list[TrainerCallback]:
        return [FitStandardizers(), SolveCodes()]
