"""Semantic correlation maximisation (Zhang & Li, AAAI 2014), the hashing method. Equations: the README beside this.

The similarity S of all pairs is never formed: it is a product of thin matrices, and so is all that is made of it.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_hashing import LinearHashModel
from cmr_hub.modeling.solvers import inverse_square_root, ridge_covariance

from .configuration_scm import SCMConfig


def similarity_factors(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """S = 2 L L^T - 1 1^T, with L the label vectors at unit length, as G H^T.

    Args:
        labels: `(n, classes)` multi-hot. An item of no class has the similarity -1 to all.

    Returns:
        G and H, both `(n, classes + 1)`.
    """
    unit, one = F.normalize(labels, dim=1), torch.ones(len(labels), 1, dtype=labels.dtype)
    return torch.cat([2 * unit, -one], dim=1), torch.cat([unit, one], dim=1)


def leading_pairs(left: torch.Tensor, right: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first singular vectors of left @ right^T, from its factors `(d_x, r)` and `(d_y, r)`.

    Returns:
        `(d_x, count)` and `(d_y, count)`, orthonormal columns. `count` is at most min(d_x, d_y); where it goes beyond
        the rank, the further pairs are any that are orthogonal to the first.
    """
    if count > min(left.shape[1], right.shape[1]):
        u, _, v = torch.linalg.svd(left @ right.T, full_matrices=False)
        return u[:, :count], v[:count].T
    basis_x, x = torch.linalg.qr(left)
    basis_y, y = torch.linalg.qr(right)
    u, _, v = torch.linalg.svd(x @ y.T, full_matrices=False)
    return basis_x @ u[:, :count], basis_y @ v[:count].T


def orthogonal_projections(
    x: torch.Tensor, y: torch.Tensor, labels: torch.Tensor, bits: int, regularization: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """SCM_orth: tr(W_x^T X^T S Y W_y) at its largest with W^T C W = I on each side.

    Args:
        x: centred `(n, d_x)` features.
        y: centred `(n, d_y)` features.
        labels: `(n, classes)` multi-hot.
        bits: at most min(d_x, d_y).
        regularization: ridge on both covariances C, as a share of the mean variance.

    Returns:
        W_x `(d_x, bits)` and W_y `(d_y, bits)`.
    """
    whiten_x, whiten_y = (inverse_square_root(ridge_covariance(data, regularization)) for data in (x, y))
    g, h = similarity_factors(labels)
    left, right = leading_pairs(whiten_x @ (x.T @ g), whiten_y @ (y.T @ h), bits)
    return whiten_x @ left, whiten_y @ right


def sequential_projections(
    x: torch.Tensor, y: torch.Tensor, labels: torch.Tensor, bits: int, regularization: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """SCM_seq: bit t has the leading pair of X^T R_t Y, R_t = bits S - sum of sgn(X w) sgn(Y v)^T of the bits before.

    Arguments and results as in [`orthogonal_projections`], but for any number of bits.
    """
    whiten_x, whiten_y = (inverse_square_root(ridge_covariance(data, regularization)) for data in (x, y))
    g, h = similarity_factors(labels)
    # Each bit adds one column to the factors of the residue, seen through the features.
    left, right = bits * whiten_x @ (x.T @ g), whiten_y @ (y.T @ h)
    found_x, found_y = [], []
    for _ in range(bits):
        u, v = leading_pairs(left, right, 1)
        w, z = whiten_x @ u, whiten_y @ v
        found_x.append(w)
        found_y.append(z)
        left = torch.cat([left, -whiten_x @ (x.T @ signs(x @ w))], dim=1)
        right = torch.cat([right, whiten_y @ (y.T @ signs(y @ z))], dim=1)
    return torch.cat(found_x, dim=1), torch.cat(found_y, dim=1)


def signs(values: torch.Tensor) -> torch.Tensor:
    """+1 above zero, else -1, as codes have it."""
    return (values > 0).to(values.dtype) * 2 - 1


@register_method("scm", display_order=180)
class SCMModel(LinearHashModel):
    """Hyperplanes whose signs correlate across the sides as the items' classes do."""

    title = "SCM (hashing)"
    paper = "Zhang and Li, Large-Scale Supervised Multimodal Hashing with Semantic Correlation Maximization, AAAI 2014"
    supervision = "supervised"
    representation = "binary"
    config_class = SCMConfig
    config: SCMConfig

    def _hyperplanes(
        self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        project = sequential_projections if self.config.variant == "sequential" else orthogonal_projections
        means = image_features.mean(dim=0), text_features.mean(dim=0)
        weights = project(
            image_features - means[0],
            text_features - means[1],
            labels,
            self.config.embed_dim,
            self.config.regularization,
        )
        image, text = ((weight, -mean @ weight) for weight, mean in zip(weights, means, strict=True))
        return image, text
