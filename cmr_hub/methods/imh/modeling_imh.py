"""Inter-media hashing (Song et al., SIGMOD 2013). Equations: the README beside this."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse
import torch

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_hashing import LinearHashModel
from cmr_hub.modeling.solvers import with_ridge
from cmr_hub.utils.extras import require

from .configuration_imh import IMHConfig

TINY = 1e-8  # share of a side's mean variance under which a direction counts as constant


def neighbor_laplacian(features: torch.Tensor, k: int) -> scipy.sparse.csr_array:
    """I - D^(-1/2) W D^(-1/2) of the symmetric 0/1 graph W of n items and the k nearest of each; sparse `(n, n)`."""
    require("sklearn", "train", "Fitting IMH")
    from sklearn.neighbors import NearestNeighbors  # a second that only those who fit need wait for

    search = NearestNeighbors(n_neighbors=min(k, len(features) - 1), algorithm="brute").fit(features.float().numpy())
    graph = scipy.sparse.csr_array(search.kneighbors_graph())
    graph = graph.maximum(graph.T)
    scale = scipy.sparse.diags_array(1 / np.sqrt(graph.sum(axis=1)))
    return scipy.sparse.csr_array(scipy.sparse.eye_array(len(features)) - scale @ graph @ scale)


def ridge_regression(covariance: torch.Tensor, columns: slice, regularization: float) -> torch.Tensor:
    """R `(d, D)` such that W = R C is the ridge regression of codes Z C on some columns X of the features Z.

    W has least ||X W - Z C||^2 / n + r ||W||^2, with r the `regularization` times the mean variance of X.

    Args:
        covariance: `(D, D)`, of Z.
        columns: which columns of Z are X.
        regularization: above 0.
    """
    return torch.linalg.solve(with_ridge(covariance[columns, columns], regularization), covariance[columns])


def shared_codes(
    covariance: torch.Tensor,
    roughness: torch.Tensor,
    regressions: Sequence[tuple[slice, torch.Tensor]],
    bits: int,
    intra_media: float,
) -> torch.Tensor:
    """C `(D, bits)` of the real-valued codes F = Z C that cost least, with F^T F / n = I; Z are both sides' features.

    The cost is tr(F^T M F) / n, M the sum over the sides of intra_media L + I - H, with L the side's neighbour
    Laplacian and H the ridge regression on its features.

    Args:
        covariance: Z^T Z / n, `(D, D)`.
        roughness: Z^T (sum of the L) Z / n, `(D, D)`.
        regressions: of each side the columns of Z, and `ridge_regression` on them.
        bits: how many codes, at most D.
        intra_media: weight of the neighbours.
    """
    cost = len(regressions) * covariance + intra_media * roughness
    for columns, regression in regressions:
        cost -= covariance[:, columns] @ regression
    # A direction without variance has no code. The ridge gives it the largest cost that there is, so that it is last.
    variances = covariance.diagonal()
    ridge = (
        TINY
        * torch.cat([variances[columns].mean().expand_as(variances[columns]) for columns, _ in regressions]).diag()
    )
    cost = (cost + cost.T) / 2 + len(regressions) * (1 + 2 * intra_media) * ridge
    _, vectors = scipy.linalg.eigh(cost.numpy(), (covariance + ridge).numpy(), subset_by_index=(0, bits - 1))
    return torch.from_numpy(vectors)


@register_method("imh", display_order=250)
class IMHModel(LinearHashModel):
    """Linear hash functions towards codes that a pair shares and that neighbours on either side have alike."""

    title = "IMH"
    paper = "Song et al., Inter-Media Hashing for Large-Scale Retrieval from Heterogeneous Data Sources, SIGMOD 2013"
    supervision = "unsupervised"
    representation = "binary"
    config_class = IMHConfig
    config: IMHConfig
    pair_weight: torch.Tensor
    pair_bias: torch.Tensor

    def __init__(self, config: IMHConfig):
        super().__init__(config)
        self.register_buffer("pair_weight", torch.zeros(config.image_dim + config.text_dim, config.embed_dim))
        self.register_buffer("pair_bias", torch.zeros(config.embed_dim))

    def _hyperplanes(
        self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        config = self.config
        features = torch.cat([image_features, text_features], dim=1)
        mean = features.mean(dim=0)
        features = features - mean
        of_each = slice(None, config.image_dim), slice(config.image_dim, None)
        covariance = features.T @ features / len(features)
        laplacian = sum(neighbor_laplacian(features[:, columns], config.neighbors) for columns in of_each)
        roughness = features.T @ torch.from_numpy(laplacian @ features.numpy()) / len(features)
        regressions = [(columns, ridge_regression(covariance, columns, config.regularization)) for columns in of_each]
        mixing = shared_codes(covariance, roughness, regressions, config.embed_dim, config.intra_media)
        self.pair_weight.copy_(mixing)
        self.pair_bias.copy_(-mean @ mixing - self._threshold(features @ mixing))
        weights = [(columns, regression @ mixing) for columns, regression in regressions]
        image, text = (
            (weight, -mean[columns] @ weight - self._threshold(features[:, columns] @ weight))
            for columns, weight in weights
        )
        return image, text

    def _threshold(self, values: torch.Tensor) -> torch.Tensor:
        return values.median(dim=0).values if self.config.threshold == "median" else values.mean(dim=0)

    def get_pair_features(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """F of pairs of which both sides are given, `(n, image_dim)` and `(n, text_dim)`."""
        self.check_fitted()
        return torch.cat([image_features, text_features], dim=1) @ self.pair_weight + self.pair_bias
