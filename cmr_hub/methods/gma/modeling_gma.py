"""Generalised multiview analysis (Sharma et al., CVPR 2012): discriminant analysis of both sides, coupled."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse
import torch

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_cmr import ClosedFormCMRModel

from .configuration_gma import GMAConfig

ROWS = 1024  # of a distance matrix at a time


def class_means(features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of each class that has items `(classes, d)`, and how many items each has; an item counts in each of its."""
    counts = labels.sum(dim=0)
    present = counts > 0
    return (labels.T @ features)[present] / counts[present, None], counts[present]


def class_scatter(features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """GMLDA's A and B: `(d, d)` scatter of the class means, and of the items around their class means.

    Both are means over memberships, so that they sum to the covariance where each item has one class.
    """
    means, counts = class_means(features, labels)
    members = labels.sum(dim=1)
    centre = members @ features / members.sum()
    between = (means - centre).T * counts @ (means - centre)
    total = (features - centre).T * members @ (features - centre)
    return between / counts.sum(), (total - between) / counts.sum()


def nearest_neighbor_graph(features: torch.Tensor, labels: torch.Tensor, k: int, same: bool) -> scipy.sparse.csr_array:
    """Symmetric 0/1 `(n, n)` graph: each item and its k nearest that share a class with it, or that share none."""
    n, edges = len(features), []
    for rows in torch.arange(n).split(ROWS):
        distances = torch.cdist(features[rows], features)
        allowed = (labels[rows] @ labels.T > 0) == same
        allowed[torch.arange(len(rows)), rows] = False
        nearest, columns = distances.masked_fill(~allowed, torch.inf).topk(min(k, n), largest=False)
        found = torch.isfinite(nearest).nonzero()
        edges.append(torch.stack([rows[found[:, 0]], columns[found[:, 0], found[:, 1]]]))
    i, j = torch.cat(edges, dim=1).numpy()
    graph = scipy.sparse.coo_array((np.ones(len(i)), (i, j)), shape=(n, n)).tocsr()
    return graph.maximum(graph.T)


def graph_scatter(features: torch.Tensor, graph: scipy.sparse.csr_array) -> torch.Tensor:
    """X^T L X / sum(W): half the mean outer product of the differences along a graph's edges, `(d, d)`."""
    x = features.numpy()
    degrees = graph.sum(axis=1)
    return torch.from_numpy((x.T * degrees @ x - x.T @ (graph @ x)) / max(1.0, degrees.sum()))


def marginal_scatter(
    features: torch.Tensor, labels: torch.Tensor, within: int, between: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """GMMFA's A and B: differences to the nearest items of other classes, and to those of one's own."""
    return (
        graph_scatter(features, nearest_neighbor_graph(features, labels, between, same=False)),
        graph_scatter(features, nearest_neighbor_graph(features, labels, within, same=True)),
    )


def trace_ratio(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Ratio of traces, tr a / tr b, bounded so that it can also weigh a matrix of zeros."""
    return a.trace() / torch.maximum(b.trace(), 1e-12 * a.trace()).clamp(min=1e-300)


@register_method("gma", display_order=130)
class GMAModel(ClosedFormCMRModel):
    """Linear projections of both sides, the top eigenvectors of one joint problem."""

    title = "GMA"
    paper = "Sharma et al., Generalized Multiview Analysis: A Discriminative Latent Space, CVPR 2012"
    supervision = "supervised"
    representation = "real-valued"
    config_class = GMAConfig
    config: GMAConfig
    image_mean: torch.Tensor
    image_projection: torch.Tensor
    text_mean: torch.Tensor
    text_projection: torch.Tensor
    eigenvalues: torch.Tensor

    def __init__(self, config: GMAConfig):
        super().__init__(config)
        for modality, dim in (("image", config.image_dim), ("text", config.text_dim)):
            self.register_buffer(f"{modality}_mean", torch.zeros(dim))
            self.register_buffer(f"{modality}_projection", torch.zeros(dim, config.embed_dim))
        self.register_buffer("eigenvalues", torch.zeros(config.embed_dim))
        self.post_init()

    def _solve(self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor) -> None:
        image_mean, text_mean = image_features.mean(dim=0), text_features.mean(dim=0)
        left, right = self._problem(image_features - image_mean, text_features - text_mean, labels)
        last = len(left) - 1
        values, vectors = scipy.linalg.eigh(
            left.numpy(), right.numpy(), subset_by_index=[last - self.config.embed_dim + 1, last]
        )
        vectors = torch.from_numpy(vectors[:, ::-1].copy())
        self.eigenvalues.copy_(torch.from_numpy(values[::-1].copy()))
        self.image_mean.copy_(image_mean)
        self.image_projection.copy_(vectors[: self.config.image_dim])
        self.text_mean.copy_(text_mean)
        self.text_projection.copy_(vectors[self.config.image_dim :])

    def _problem(
        self, image: torch.Tensor, text: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both matrices of the generalised eigenproblem, from centred features."""
        config = self.config
        (image_a, image_b), (text_a, text_b) = self._scatters(image, labels), self._scatters(text, labels)
        mu = trace_ratio(image_a, text_a) if config.mu is None else config.mu
        gamma = trace_ratio(image_b, text_b) if config.gamma is None else config.gamma
        if config.coupling == "pairs":
            cross = config.alpha * image.T @ text / len(image)
        else:
            (image_means, counts), (text_means, _) = class_means(image, labels), class_means(text, labels)
            cross = config.alpha * (image_means.T * counts) @ text_means / counts.sum()
        left = torch.cat([torch.cat([image_a, cross], dim=1), torch.cat([cross.T, mu * text_a], dim=1)])
        return left, torch.block_diag(image_b, gamma * text_b)

    def _scatters(self, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A and the regularised B of one side."""
        config = self.config
        if config.variant == "lda":
            a, b = class_scatter(features, labels)
        else:
            a, b = marginal_scatter(features, labels, config.within_neighbors, config.between_neighbors)
        ridge = config.regularization * features.square().mean()
        return a, b + ridge * torch.eye(len(b), dtype=b.dtype)

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        return (image_features - self.image_mean) @ self.image_projection

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        return (text_features - self.text_mean) @ self.text_projection
