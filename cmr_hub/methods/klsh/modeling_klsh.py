"""Kernelized locality-sensitive hashing of canonical variates. Equation numbers: the README beside this."""

from __future__ import annotations

import torch

from cmr_hub.errors import InputError
from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_canonical import CanonicalHashModel

from .configuration_klsh import KLSHConfig

SMALLEST_SHARE = (
    1e-6  # eigenvalues below this share of the largest count as zero: float32 could not carry their inverse
)


def squared_distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """`(n, m)` squared Euclidean distances of `(n, d)` to `(m, d)` rows."""
    return torch.cdist(x, y).square()


def centred(kernel: torch.Tensor) -> torch.Tensor:
    """The `(p, p)` kernel matrix of the same points moved to mean zero in the kernel's space (equation 3)."""
    means = kernel.mean(dim=0)
    return kernel - means - means[:, None] + means.mean()


def hash_weights(kernel: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Weights of the anchors in each hash function (equation 2).

    Args:
        kernel: `(p, p)` centred kernel matrix of the anchors.
        members: `(bits, t)` rows of the anchors that each function is made of.

    Returns:
        `(p, bits)`; each column sums to zero.
    """
    values, vectors = torch.linalg.eigh(kernel)
    kept = values > SMALLEST_SHARE * values[-1]
    inverse_root = vectors[:, kept] / values[kept].sqrt() @ vectors[:, kept].T
    count = members.shape[1]
    return (len(kernel) / count) ** 0.5 * inverse_root[members].sum(dim=1).T


@register_method("klsh", display_order=270)
class KLSHModel(CanonicalHashModel):
    """A bit is the side of a random hyperplane in the kernel's space."""

    title = "KLSH"
    paper = "Kulis and Grauman, Kernelized Locality-Sensitive Hashing for Scalable Image Search, ICCV 2009"
    supervision = "unsupervised"
    representation = "binary"
    is_stochastic = True
    config_class = KLSHConfig
    config: KLSHConfig
    anchors: torch.Tensor
    precision: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor

    def __init__(self, config: KLSHConfig):
        super().__init__(config)
        self.register_buffer("anchors", torch.zeros(config.anchors, config.components))
        self.register_buffer("precision", torch.zeros(()))
        self.register_buffer("weights", torch.zeros(config.anchors, config.embed_dim))
        self.register_buffer("bias", torch.zeros(config.embed_dim))
        self.post_init()

    def _learn(self, points: torch.Tensor) -> None:
        config = self.config
        if len(points) < config.anchors:
            raise InputError(
                f"KLSH draws {config.anchors} anchors from the images and texts together, and there are "
                f"{len(points)} of them: set anchors to that or less."
            )
        anchors = points[torch.randperm(len(points))[: config.anchors]]
        distances = squared_distances(anchors, anchors)
        precision = 1 / (2 * config.bandwidth * distances.mean().clamp(min=torch.finfo(torch.float32).tiny ** 0.5))
        kernel = torch.exp(-precision * distances)
        drawn = torch.rand(config.embed_dim, config.anchors, dtype=points.dtype).argsort(dim=1)
        weights = hash_weights(centred(kernel), drawn[:, : config.sampled])
        self.anchors.copy_(anchors)
        self.precision.copy_(precision)
        self.weights.copy_(weights)
        self.bias.copy_(-kernel.mean(dim=0) @ weights)

    def _hash(self, points: torch.Tensor) -> torch.Tensor:
        # A new point's kernel values are centred like the anchors'. What they lose by that is the same for all
        # anchors, but for the anchors' own means, and weights that sum to zero do not see it: a bias is left.
        kernel = torch.exp(-self.precision * squared_distances(points, self.anchors))
        return kernel @ self.weights + self.bias
