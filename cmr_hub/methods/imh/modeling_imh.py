"""Inter-media hashing (Song et al., SIGMOD 2013). Equations: the README beside this."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse
import torch
from sklearn.neighbors import NearestNeighbors

from ...modeling_hashing import LinearHashModel
from ...solvers import ridge_covariance
from .configuration_imh import IMHConfig

TINY = 1e-8  # share of a side's mean variance under which a direction counts as constant


def neighbor_laplacian(features: torch.Tensor, k: int) -> scipy.sparse.csr_array:
    """I - D^(-1/2) W D^(-1/2) of the symmetric 0/1 graph W of n items and the k nearest of each; sparse `(n, n)`."""
    search = NearestNeighbors(n_neighbors=min(k, len(features) - 1), algorithm="brute").fit(features.float().numpy())
    graph = scipy.sparse.csr_array(search.kneighbors_graph())
    graph = graph.maximum(graph.T)
    scale = scipy.sparse.diags_array(1 / np.sqrt(graph.sum(axis=1)))
    return scipy.sparse.csr_array(scipy.sparse.eye_array(len(features)) - scale @ graph @ scale)


def ridge_regression(x: torch.Tensor, targets: torch.Tensor, regularization: float) -> torch.Tensor:
    """W `(d, k)` of least ||X W - T||^2 / n + r ||W||^2, with r the `regularization` times the mean variance of X.

    Args:
        x: centred `(n, d)` features.
        targets: centred `(n, k)` targets.
        regularization: above 0.
    """
    return torch.linalg.solve(ridge_covariance(x, regularization), x.T @ targets / len(x))


def shared_codes(
    x: torch.Tensor, y: torch.Tensor, bits: int, neighbors: int, intra_media: float, regularization: float
) -> torch.Tensor:
    """C `(d_x + d_y, bits)` of the real-valued codes F = [X Y] C that cost least, with F^T F / n = I.

    The cost is tr(F^T M F) / n, M = intra_media (L_x + L_y) + (I - H_x) + (I - H_y): L a side's neighbour Laplacian, H
    what ridge regression on a side's features leaves of a code.

    Args:
        x: centred `(n, d_x)` features.
        y: centred `(n, d_y)` features.
        bits: how many columns, at most d_x + d_y.
        neighbors, intra_media, regularization: see `IMHConfig`.
    """
    both = torch.cat([x, y], dim=1)
    covariance = both.T @ both / len(both)
    cost = 2 * covariance
    for side, columns in ((x, slice(None, x.shape[1])), (y, slice(x.shape[1], None))):
        cost -= covariance[:, columns] @ torch.linalg.solve(
            ridge_covariance(side, regularization), covariance[columns]
        )
        if intra_media:
            smooth = torch.from_numpy(neighbor_laplacian(side, neighbors) @ both.numpy())
            cost += intra_media * both.T @ smooth / len(both)
    # A direction without variance has no code. The ridge gives it the largest cost that there is, so that it is last.
    ridge = TINY * torch.cat([side.square().mean().expand(side.shape[1]) for side in (x, y)]).diag()
    cost = (cost + cost.T) / 2 + (2 + 4 * intra_media) * ridge
    _, vectors = scipy.linalg.eigh(cost.numpy(), (covariance + ridge).numpy(), subset_by_index=(0, bits - 1))
    return torch.from_numpy(vectors)


class IMHModel(LinearHashModel):
    """Linear hash functions towards codes that a pair shares and that neighbours on either side have alike."""

    title = "IMH"
    paper = "Song et al., Inter-Media Hashing for Large-Scale Retrieval from Heterogeneous Data Sources, SIGMOD 2013"
    supervision = "unsupervised"
    config_class = IMHConfig
    config: IMHConfig

    def __init__(self, config: IMHConfig):
        super().__init__(config)
        self.register_buffer("pair_weight", torch.zeros(config.image_dim + config.text_dim, config.embed_dim))
        self.register_buffer("pair_bias", torch.zeros(config.embed_dim))

    def _hyperplanes(
        self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        config = self.config
        sides = image_features, text_features
        means = [side.mean(dim=0) for side in sides]
        centred = [side - mean for side, mean in zip(sides, means, strict=True)]
        mixing = shared_codes(*centred, config.embed_dim, config.neighbors, config.intra_media, config.regularization)
        codes = torch.cat(centred, dim=1) @ mixing
        self.pair_weight.copy_(mixing)
        self.pair_bias.copy_(-torch.cat(means) @ mixing - self._threshold(codes))
        image, text = (
            (weight, -mean @ weight - self._threshold(side @ weight))
            for side, mean, weight in (
                (side, mean, ridge_regression(side, codes, config.regularization))
                for side, mean in zip(centred, means, strict=True)
            )
        )
        return image, text

    def _threshold(self, values: torch.Tensor) -> torch.Tensor:
        return values.median(dim=0).values if self.config.threshold == "median" else values.mean(dim=0)

    def get_pair_features(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """F of pairs of which both sides are given, `(n, image_dim)` and `(n, text_dim)`."""
        self.check_fitted()
        return torch.cat([image_features, text_features], dim=1) @ self.pair_weight + self.pair_bias
