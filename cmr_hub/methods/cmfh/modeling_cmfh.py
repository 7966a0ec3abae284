"""Collective matrix factorisation hashing (Ding, Guo and Zhou, CVPR 2014). Equations: the README beside this.

Here rows are items: a side's features X `(n, d)` are V U with V `(n, bits)` and U `(bits, d)`, and also V = X P with
P `(d, bits)`. The best V is linear in the features, V = [X1 X2] C, so that everything is solved in C and the features'
Gram matrix, whose size does not depend on how many pairs there are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_hashing import LinearHashModel

from .configuration_cmfh import CMFHConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Factors:
    """One state of the iterations.

    Attributes:
        bases: U of the images `(bits, image_dim)` and of the texts `(bits, text_dim)`.
        projections: P of the images `(image_dim, bits)` and of the texts `(text_dim, bits)`.
        mixing: C `(image_dim + text_dim, bits)`, which gives V of a pair.
    """

    bases: tuple[torch.Tensor, torch.Tensor]
    projections: tuple[torch.Tensor, torch.Tensor]
    mixing: torch.Tensor


def objective(gram: torch.Tensor, factors: Factors, shares: tuple[float, float], mu: float, gamma: float) -> float:
    """Sum over the sides of share ||X - V U||^2 + mu ||V - X P||^2 + gamma (||U||^2 + ||P||^2), and gamma ||V||^2.

    Args:
        gram: `[X1 X2]^T [X1 X2]`.
        factors: U, P and C.
        shares: lambda and 1 - lambda.
        mu: weight of the hash functions' residuals.
        gamma: weight of the squared norms.
    """
    seen = gram @ factors.mixing  # [X1 X2]^T V
    code_gram = factors.mixing.T @ seen
    total, start = gamma * code_gram.trace(), 0
    for basis, projection, share in zip(factors.bases, factors.projections, shares, strict=True):
        columns = slice(start, start + len(projection))
        start = columns.stop
        own, cross = gram[columns, columns], seen[columns]
        factorisation = own.trace() - 2 * (basis.T * cross).sum() + (basis * (code_gram @ basis)).sum()
        hashing = code_gram.trace() - 2 * (projection * cross).sum() + (projection * (own @ projection)).sum()
        total += share * factorisation + mu * hashing + gamma * (basis.square().sum() + projection.square().sum())
    return total.item()


def alternate(
    gram: torch.Tensor,
    mixing: torch.Tensor,
    image_dim: int,
    shares: tuple[float, float],
    mu: float,
    gamma: float,
    ridge: str = "objective",
) -> Iterator[Factors]:
    """Solve U and P for V, and V for U and P, each in closed form, again and again; every half step is a state.

    Args:
        gram: `[X1 X2]^T [X1 X2]`, `(image_dim + text_dim, image_dim + text_dim)`.
        mixing: C to start from.
        image_dim: where the texts' features start.
        shares: lambda and 1 - lambda.
        mu: weight of the hash functions' residuals.
        gamma: weight of the squared norms.
        ridge: of the systems for U and P: "objective" is gamma / share and gamma / mu, which minimise the objective;
            "gamma" is gamma for both, as the authors' solver has it.
    """
    weigh = ridge == "objective"
    of_each = slice(None, image_dim), slice(image_dim, None)
    eye = torch.eye(mixing.shape[1], dtype=gram.dtype)
    ridged = gram + gamma / (mu if weigh else 1) * torch.eye(len(gram), dtype=gram.dtype)
    solved_once = [torch.linalg.cholesky(ridged[columns, columns]) for columns in of_each]
    while True:
        seen = gram @ mixing
        code_gram = mixing.T @ seen
        image_basis, text_basis = (
            torch.linalg.solve(code_gram + gamma / (share if weigh else 1) * eye, seen[columns].T)
            for columns, share in zip(of_each, shares, strict=True)
        )
        image_projection, text_projection = (
            torch.cholesky_solve(seen[columns], factor) for columns, factor in zip(of_each, solved_once, strict=True)
        )
        bases, projections = (image_basis, text_basis), (image_projection, text_projection)
        yield Factors(bases, projections, mixing)
        weighted = list(zip(bases, projections, shares, strict=True))
        system = sum(share * basis @ basis.T for basis, _, share in weighted) + (2 * mu + gamma) * eye
        target = torch.cat([share * basis.T + mu * projection for basis, projection, share in weighted])
        mixing = torch.linalg.solve(system, target.T).T
        yield Factors(bases, projections, mixing)


@register_method("cmfh", display_order=240)
class CMFHModel(LinearHashModel):
    """Linear hash functions towards one latent code a pair, whose factors rebuild both sides' features."""

    title = "CMFH"
    paper = "Ding, Guo and Zhou, Collective Matrix Factorization Hashing for Multimodal Data, CVPR 2014"
    supervision = "unsupervised"
    representation = "binary"
    is_stochastic = True
    config_class = CMFHConfig
    config: CMFHConfig
    pair_weight: torch.Tensor
    pair_bias: torch.Tensor

    def __init__(self, config: CMFHConfig):
        super().__init__(config)
        self.register_buffer("pair_weight", torch.zeros(config.image_dim + config.text_dim, config.embed_dim))
        self.register_buffer("pair_bias", torch.zeros(config.embed_dim))

    def _hyperplanes(
        self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        features = torch.cat([image_features, text_features], dim=1)
        mean = features.mean(dim=0)
        factors = self._factorize(features - mean)
        self.pair_weight.copy_(factors.mixing)
        self.pair_bias.copy_(-mean @ factors.mixing)
        means = mean.split([self.config.image_dim, self.config.text_dim])
        image, text = ((weight, -mean @ weight) for weight, mean in zip(factors.projections, means, strict=True))
        return image, text

    def _factorize(self, features: torch.Tensor) -> Factors:
        """The factors of the centred `(n, image_dim + text_dim)` features."""
        config = self.config
        weights = (config.image_share, 1 - config.image_share), config.mu, config.gamma
        gram = features.T @ features
        # A random V of unit variance in the features' span.
        start = torch.randn(len(gram), config.embed_dim).to(gram) * (len(features) / gram.trace()).sqrt()
        steps = alternate(gram, start, config.image_dim, *weights, ridge=config.ridge)
        values = [float("inf")]
        for factors in islice(steps, 1, 2 * config.max_iterations, 2):  # the states after V
            values.append(objective(gram, factors, *weights))
            if values[-2] - values[-1] < config.tolerance * values[-1]:
                break
        logger.info("CMFH: objective %.6g after %d iterations", values[-1], len(values) - 1)
        return factors

    def get_pair_features(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """V of pairs of which both sides are given, `(n, image_dim)` and `(n, text_dim)`, by its closed form."""
        self.check_fitted()
        return torch.cat([image_features, text_features], dim=1) @ self.pair_weight + self.pair_bias
