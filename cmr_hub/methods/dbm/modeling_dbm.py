"""The bimodal deep Boltzmann machine of Srivastava and Salakhutdinov, learned by contrastive divergence."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import TrainerCallback

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.modeling.standardizer import FitStandardizers, Standardizer

from .configuration_dbm import DBMConfig

CENTRE = 0.5  # binary units enter products as unit - CENTRE, which only moves biases but makes learning stable


class States(NamedTuple):
    """A state of every unit, or the mean of one: visible `(n, dim)` and hidden `(n, hidden_dim)`, `(n, embed_dim)`."""

    image: torch.Tensor
    text: torch.Tensor
    image_hidden: torch.Tensor
    text_hidden: torch.Tensor
    joint: torch.Tensor


class Pathway(nn.Module):
    """One side: Gaussian visible units of unit variance, binary hidden units, and their weights to the joint layer."""

    def __init__(self, dim: int, config: DBMConfig):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, config.hidden_dim))
        self.joint_weight = nn.Parameter(torch.empty(config.hidden_dim, config.embed_dim))
        self.visible_bias = nn.Parameter(torch.empty(dim))
        self.hidden_bias = nn.Parameter(torch.empty(config.hidden_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small weights, no biases."""
        for weight in (self.weight, self.joint_weight):
            nn.init.normal_(weight, std=0.01)
        for bias in (self.visible_bias, self.hidden_bias):
            nn.init.zeros_(bias)

    def energy(self, visible: torch.Tensor, hidden: torch.Tensor, joint: torch.Tensor) -> torch.Tensor:
        """|v - b|^2 / 2 - v W h - h U j - c h for each row, with centred h and j in the products."""
        hidden_centred, joint_centred = hidden - CENTRE, joint - CENTRE
        return (
            (visible - self.visible_bias).square().sum(dim=1) / 2
            - (visible @ self.weight * hidden_centred).sum(dim=1)
            - (hidden_centred @ self.joint_weight * joint_centred).sum(dim=1)
            - hidden @ self.hidden_bias
        )

    def visible_mean(self, hidden: torch.Tensor) -> torch.Tensor:
        """E[v | h]; the variance is one."""
        return self.visible_bias + (hidden - CENTRE) @ self.weight.T

    def hidden_mean(self, visible: torch.Tensor, joint: torch.Tensor) -> torch.Tensor:
        """P(h = 1 | v, j)."""
        return torch.sigmoid(visible @ self.weight + (joint - CENTRE) @ self.joint_weight.T + self.hidden_bias)

    def joint_input(self, hidden: torch.Tensor) -> torch.Tensor:
        """This side's part of the log-odds of j."""
        return (hidden - CENTRE) @ self.joint_weight


class FitCentres(TrainerCallback):
    """Takes the mean of each side's embeddings over all training items after each epoch, before it is measured."""

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        pairs = kwargs["train_dataloader"].dataset[:]
        kwargs["model"].fit_centres(pairs["image_features"], pairs["text_features"])


@register_method("dbm", display_order=100)
class DBMModel(CMRModel):
    """Two pathways from Gaussian visible units to one binary joint layer.

    The embedding of one side is what its mean-field inference makes of the joint layer, the other pathway inferred
    along, less its mean over the training items.
    """

    title = "DBM"
    paper = "Srivastava and Salakhutdinov, Multimodal Learning with Deep Boltzmann Machines, NIPS 2012"
    supervision = "unsupervised"
    representation = "real-valued"
    config_class = DBMConfig
    config: DBMConfig
    image_centre: torch.Tensor
    text_centre: torch.Tensor

    def __init__(self, config: DBMConfig):
        super().__init__(config)
        self.image_standardizer = Standardizer(config.image_dim)
        self.text_standardizer = Standardizer(config.text_dim)
        self.image_pathway = Pathway(config.image_dim, config)
        self.text_pathway = Pathway(config.text_dim, config)
        self.joint_bias = nn.Parameter(torch.zeros(config.embed_dim))
        self.register_buffer("image_centre", torch.full((config.embed_dim,), CENTRE))
        self.register_buffer("text_centre", torch.full((config.embed_dim,), CENTRE))
        self.post_init()

    def energy(self, states: States) -> torch.Tensor:
        """The energy of each row `(n,)`; for independent units it is linear in their means, so these may stand in."""
        return (
            self.image_pathway.energy(states.image, states.image_hidden, states.joint)
            + self.text_pathway.energy(states.text, states.text_hidden, states.joint)
            - states.joint @ self.joint_bias
        )

    def joint_mean(self, image_hidden: torch.Tensor, text_hidden: torch.Tensor) -> torch.Tensor:
        """P(j = 1 | h) of both sides' hidden units."""
        inputs = self.image_pathway.joint_input(image_hidden) + self.text_pathway.joint_input(text_hidden)
        return torch.sigmoid(inputs + self.joint_bias)

    @torch.no_grad()
    def infer(self, image: torch.Tensor | None, text: torch.Tensor | None) -> States:
        """Mean-field inference of all that is not given, from standardised features of one side or both."""
        given = next(visible for visible in (image, text) if visible is not None)
        image_hidden = text_hidden = given.new_full((given.shape[0], self.config.hidden_dim), CENTRE)
        joint = given.new_full((given.shape[0], self.config.embed_dim), CENTRE)
        for _ in range(self.config.mean_field_steps):
            image_now = image if image is not None else self.image_pathway.visible_mean(image_hidden)
            text_now = text if text is not None else self.text_pathway.visible_mean(text_hidden)
            image_hidden = self.image_pathway.hidden_mean(image_now, joint)
            text_hidden = self.text_pathway.hidden_mean(text_now, joint)
            joint = self.joint_mean(image_hidden, text_hidden)
        return States(image_now, text_now, image_hidden, text_hidden, joint)

    @torch.no_grad()
    def fantasise(self, data: States) -> States:
        """The model's own states after some steps of block Gibbs sampling from the data's.

        Hidden layers are sampled given what is below and above them, then visible units and joint layer given these.
        In evaluation means take the place of samples, so that chance has no part in it.
        """
        image, text, joint = data.image, data.text, self._draw(data.joint)
        for _ in range(self.config.gibbs_steps):
            image_hidden = self._draw(self.image_pathway.hidden_mean(image, joint))
            text_hidden = self._draw(self.text_pathway.hidden_mean(text, joint))
            image = self._noisy(self.image_pathway.visible_mean(image_hidden))
            text = self._noisy(self.text_pathway.visible_mean(text_hidden))
            joint = self._draw(self.joint_mean(image_hidden, text_hidden))
        # Their means, not samples: the same gradient on average, with less noise.
        image_hidden = self.image_pathway.hidden_mean(image, joint)
        text_hidden = self.text_pathway.hidden_mean(text, joint)
        return States(image, text, image_hidden, text_hidden, joint)

    def _draw(self, means: torch.Tensor) -> torch.Tensor:
        return torch.bernoulli(means) if self.training else means

    def _noisy(self, means: torch.Tensor) -> torch.Tensor:
        return means + torch.randn_like(means) if self.training else means

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self.infer(self.image_standardizer(image_features), None).joint - self.image_centre

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self.infer(None, self.text_standardizer(text_features)).joint - self.text_centre

    def embed(
        self, image_features: torch.Tensor | None = None, text_features: torch.Tensor | None = None
    ) -> CMROutput:
        """Embed whichever modalities are given; in training, pairs are not embedded.

        The loss does not use their embeddings, and inferring both would take most of the time.
        """
        if self.training and image_features is not None and text_features is not None:
            return CMROutput()
        return super().embed(image_features=image_features, text_features=text_features)

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"model_energy": -1.0}

    def compute_loss(
        self, output: CMROutput, image_features: torch.Tensor, text_features: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Energies whose difference has the gradient of contrastive divergence.

        The difference, the energy of the data less that of the model's own states, is no likelihood: it may have any
        sign.
        """
        data = self.infer(self.image_standardizer(image_features), self.text_standardizer(text_features))
        return {
            "data_energy": self.energy(data).mean(),
            "model_energy": self.energy(self.fantasise(data)).mean(),
        }

    @torch.no_grad()
    def fit_centres(self, image_features: torch.Tensor, text_features: torch.Tensor) -> None:
        """Centre each side's embeddings on the mean over `(n, dim)` features."""
        self.image_centre += self.get_image_features(image_features.to(self.device)).mean(dim=0)
        self.text_centre += self.get_text_features(text_features.to(self.device)).mean(dim=0)

    def training_callbacks(self) -> list[TrainerCallback]:
        return [FitStandardizers(), FitCentres()]
