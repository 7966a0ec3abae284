"""Isotropic hashing of canonical variates. Equation numbers: the README beside this."""

from __future__ import annotations

import logging

import torch

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_canonical import CanonicalHashModel
from cmr_hub.modeling.solvers import principal_axes

from .configuration_isotropic import IsotropicConfig

logger = logging.getLogger(__name__)


def project(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest matrix whose diagonal is the mean of this one's throughout (equation 3)."""
    return matrix - (matrix.diagonal() - matrix.diagonal().mean()).diag()


def lift(matrix: torch.Tensor, variances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest Qᵀ Λ Q to a symmetric matrix, Λ the `variances` with the largest first, and Q (equation 2)."""
    rotation = torch.linalg.eigh(matrix)[1].flip(1).T
    return rotation.T * variances @ rotation, rotation


def isotropic_rotation(
    variances: torch.Tensor, start: torch.Tensor, tolerance: float, max_iterations: int
) -> torch.Tensor:
    """An orthogonal Q under which Qᵀ diag(variances) Q has equal diagonal elements, by lift and projection.

    Args:
        variances: `(c,)`, largest first.
        start: `(c, c)` orthogonal.
        tolerance: the largest difference from the mean variance that is let pass, as a share of it.
        max_iterations: of the search.
    """
    rotation = start
    lifted = rotation.T * variances @ rotation
    allowed = tolerance * variances.mean()
    for _ in range(max_iterations):
        if (lifted.diagonal() - variances.mean()).abs().max() <= allowed:
            return rotation
        lifted, rotation = lift(project(lifted), variances)
    error = ((lifted.diagonal() - variances.mean()).abs().max() / variances.mean()).item()
    logger.warning(
        "After %d steps the variances of the bits still differ from their mean by up to %.1g of it; "
        "raise max_iterations.",
        max_iterations,
        error,
    )
    return rotation


@register_method("isotropic", display_order=280)
class IsotropicModel(CanonicalHashModel):
    """A bit is the sign of a direction of the common space, and all of them have the same variance."""

    title = "IsoHash"
    paper = "Kong and Li, Isotropic Hashing, NIPS 2012"
    supervision = "unsupervised"
    representation = "binary"
    is_stochastic = True
    config_class = IsotropicConfig
    config: IsotropicConfig
    directions: torch.Tensor

    def __init__(self, config: IsotropicConfig):
        super().__init__(config)
        self.register_buffer("directions", torch.zeros(config.components, config.embed_dim))
        self.post_init()

    def _learn(self, points: torch.Tensor) -> None:
        bits = self.config.embed_dim
        variances, axes = principal_axes(points)
        start, _ = torch.linalg.qr(torch.randn(bits, bits, dtype=points.dtype))
        rotation = isotropic_rotation(variances[:bits], start, self.config.tolerance, self.config.max_iterations)
        self.directions.copy_(axes[:, :bits] @ rotation)

    def _hash(self, points: torch.Tensor) -> torch.Tensor:
        return points @ self.directions
