"""Deep CCA (Andrew et al., ICML 2013): two networks whose outputs correlate, and a linear CCA on top of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.modeling.solvers import canonical_pairs
from cmr_hub.modeling.standardizer import FitStandardizers, Standardizer

from .configuration_dcca import DCCAConfig

FLOOR = 1e-8  # added to each variance, so that constant outputs have a covariance that can be inverted


def modified_cube_root(x: torch.Tensor) -> torch.Tensor:
    """The paper's activation s(x), where s^3 / 3 + s = x: like a cube root, but with slope 1 at zero.

    With s = 2 sinh t the left side is 2/3 sinh 3t, so that no iteration is needed.
    """
    return 2 * torch.sinh(torch.asinh(1.5 * x) / 3)


def correlation_loss(x: torch.Tensor, y: torch.Tensor, components: int, regularization: float) -> torch.Tensor:
    """Minus the sum of the largest `components` canonical correlations of `(n, d_x)` and `(n, d_y)` outputs.

    The correlations are the singular values of T = C_xx^(-1/2) C_xy C_yy^(-1/2). L_x^-1 C_xy L_y^-T with Cholesky
    factors has the same ones, and a gradient that also exists where eigenvalues coincide.
    """
    x, y = x.double() - x.double().mean(dim=0), y.double() - y.double().mean(dim=0)

    def factor(data: torch.Tensor) -> torch.Tensor:
        covariance = data.T @ data / len(data)
        ridge = regularization * covariance.diagonal().mean() + FLOOR
        return torch.linalg.cholesky(covariance + ridge * torch.eye(len(covariance)).to(covariance))

    whitened = torch.linalg.solve_triangular(factor(x), x.T @ y / len(x), upper=False)
    whitened = torch.linalg.solve_triangular(factor(y), whitened.T, upper=False)
    return -torch.linalg.svdvals(whitened)[:components].sum()


class CubeRoot(nn.Module):
    """[`modified_cube_root`] as a layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return modified_cube_root(x)


def make_network(dim: int, config: DCCAConfig) -> nn.Sequential:
    """Hidden layers with the paper's activation, and a linear output."""
    layers: list[nn.Module] = [nn.Dropout(config.dropout)]
    for _ in range(config.hidden_layers):
        layers += [nn.Linear(dim, config.hidden_dim), CubeRoot(), nn.Dropout(config.dropout)]
        dim = config.hidden_dim
    return nn.Sequential(*layers, nn.Linear(dim, config.output_dim))


class FitProjections(TrainerCallback):
    """Solves the linear CCA on the outputs of all training pairs after each epoch, before it is measured."""

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        pairs = kwargs["train_dataloader"].dataset[:]
        kwargs["model"].fit_projections(pairs["image_features"], pairs["text_features"])


@register_method("dcca", display_order=80)
class DCCAModel(CMRModel):
    """One network per modality; their outputs are projected onto their canonical variates.

    The projections are buffers that [`FitProjections`] fills; until then they keep the first outputs as they are.
    """

    title = "DCCA"
    paper = "Andrew et al., Deep Canonical Correlation Analysis, ICML 2013"
    supervision = "unsupervised"
    representation = "real-valued"
    config_class = DCCAConfig
    config: DCCAConfig
    image_mean: torch.Tensor
    image_projection: torch.Tensor
    text_mean: torch.Tensor
    text_projection: torch.Tensor
    correlations: torch.Tensor

    def __init__(self, config: DCCAConfig):
        super().__init__(config)
        self.image_standardizer = Standardizer(config.image_dim)
        self.text_standardizer = Standardizer(config.text_dim)
        self.image_network = make_network(config.image_dim, config)
        self.text_network = make_network(config.text_dim, config)
        for modality in ("image", "text"):
            self.register_buffer(f"{modality}_mean", torch.zeros(config.output_dim))
            self.register_buffer(f"{modality}_projection", torch.eye(config.output_dim, config.embed_dim))
        self.register_buffer("correlations", torch.ones(config.embed_dim))
        self.post_init()

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self._project_image(self._image_outputs(image_features))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self._project_text(self._text_outputs(text_features))

    def embed(
        self, image_features: torch.Tensor | None = None, text_features: torch.Tensor | None = None
    ) -> CMROutput:
        """Embed whichever modalities are given; in training, pairs are not embedded.

        The loss is that of the networks' outputs: their projections are solved after the epoch.
        """
        if self.training and image_features is not None and text_features is not None:
            return CMROutput()
        return super().embed(image_features=image_features, text_features=text_features)

    def compute_loss(
        self, output: CMROutput, image_features: torch.Tensor, text_features: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Minus the total correlation of the batch."""
        x, y = self._image_outputs(image_features), self._text_outputs(text_features)
        loss = correlation_loss(x, y, self.config.embed_dim, self.config.regularization)
        return {"correlation": loss.to(x.dtype)}

    @torch.no_grad()
    def fit_projections(self, image_features: torch.Tensor, text_features: torch.Tensor) -> None:
        """Solve the linear CCA of the networks' outputs on `n` pairs; outputs without any variance change nothing."""
        was_training, device = self.training, self.device
        self.eval()
        x = self._image_outputs(image_features.to(device)).double().cpu()
        y = self._text_outputs(text_features.to(device)).double().cpu()
        self.train(was_training)
        x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
        x, y = x - x_mean, y - y_mean
        if min(x.square().mean(), y.square().mean()) < FLOOR:
            return
        x_projection, y_projection, correlations = canonical_pairs(
            x, y, self.config.embed_dim, self.config.regularization
        )
        self.image_mean.copy_(x_mean)
        self.image_projection.copy_(x_projection)
        self.text_mean.copy_(y_mean)
        self.text_projection.copy_(y_projection)
        self.correlations.copy_(correlations)

    def training_callbacks(self) -> list[TrainerCallback]:
        return [FitStandardizers(), FitProjections()]

    def _image_outputs(self, features: torch.Tensor) -> torch.Tensor:
        return self.image_network(self.image_standardizer(features))

    def _text_outputs(self, features: torch.Tensor) -> torch.Tensor:
        return self.text_network(self.text_standardizer(features))

    def _project_image(self, outputs: torch.Tensor) -> torch.Tensor:
        return (outputs - self.image_mean) @ (self.image_projection * self._weights())

    def _project_text(self, outputs: torch.Tensor) -> torch.Tensor:
        return (outputs - self.text_mean) @ (self.text_projection * self._weights())

    def _weights(self) -> torch.Tensor:
        return self.correlations**self.config.correlation_power
