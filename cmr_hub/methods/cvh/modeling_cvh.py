"""Cross-view hashing (Kumar and Udupa, IJCAI 2011), learned from pairs. Equations: the README beside this."""

from __future__ import annotations

import torch

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_hashing import LinearHashModel
from cmr_hub.modeling.solvers import canonical_pairs, inverse_square_root, ridge_covariance

from .configuration_cvh import CVHConfig


def uncorrelated_directions(x: torch.Tensor, variates: torch.Tensor, regularization: float) -> torch.Tensor:
    """The `(d, d - k)` directions of x left over by `(d, k)` canonical ones, all of unit regularised variance.

    Args:
        x: centred `(n, d)` data.
        variates: canonical projections, orthonormal in the regularised covariance of x.
        regularization: ridge, as a share of the mean variance.
    """
    covariance = ridge_covariance(x, regularization)
    left = torch.linalg.qr(covariance @ variates, mode="complete").Q[:, variates.shape[1] :]
    return left @ inverse_square_root(left.T @ covariance @ left)


def cross_view_eigenvectors(
    x: torch.Tensor, y: torch.Tensor, count: int, regularization: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """First eigenvectors of [0 Cxy; Cyx 0] w = lambda [Cxx 0; 0 Cyy] w, the largest lambda first.

    The canonical pairs (a, b) of correlation rho hold the solution: (a, b) belongs to lambda = rho, (a, -b) to -rho,
    and a direction of one side that correlates with nothing, beside zeros for the other side, to 0.

    Args:
        x: centred `(n, d_x)` data.
        y: centred `(n, d_y)` data.
        count: how many, at most d_x + d_y.
        regularization: ridge on Cxx and Cyy, as a share of the mean variance.

    Returns:
        Both parts of the eigenvectors, `(d_x, count)` and `(d_y, count)`, each of unit regularised variance or
        zero, and the `(count,)` eigenvalues.
    """
    pairs = min(x.shape[1], y.shape[1])
    a, b, correlations = canonical_pairs(x, y, min(count, pairs), regularization)
    if count <= pairs:
        return a, b, correlations
    only_x, only_y = (uncorrelated_directions(*data, regularization) for data in ((x, a), (y, b)))
    zeros = only_x.new_zeros
    image = [a, only_x, zeros(len(a), only_y.shape[1]), a.flip(1)]
    text = [b, zeros(len(b), only_x.shape[1]), only_y, -b.flip(1)]
    values = [correlations, zeros(only_x.shape[1] + only_y.shape[1]), -correlations.flip(0)]
    return torch.cat(image, dim=1)[:, :count], torch.cat(text, dim=1)[:, :count], torch.cat(values)[:count]


@register_method("cvh", display_order=260)
class CVHModel(LinearHashModel):
    """Signs of the canonical variates, and of what is left where a code is longer than there are any."""

    title = "CVH"
    paper = "Kumar and Udupa, Learning Hash Functions for Cross-View Similarity Search, IJCAI 2011"
    supervision = "unsupervised"
    representation = "binary"
    config_class = CVHConfig
    config: CVHConfig

    def _hyperplanes(
        self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        image_mean, text_mean = image_features.mean(dim=0), text_features.mean(dim=0)
        image, text, _ = cross_view_eigenvectors(
            image_features - image_mean,
            text_features - text_mean,
            self.config.embed_dim,
            self.config.regularization,
        )
        return (image, -image_mean @ image), (text, -text_mean @ text)
