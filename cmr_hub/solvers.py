"""Closed forms and convex problems that two or more methods build on."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .losses import class_shares


def inverse_square_root(covariance: torch.Tensor) -> torch.Tensor:
    """C^(-1/2) of a symmetric positive definite `(d, d)` matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors / values.sqrt() @ vectors.T


def with_ridge(covariance: torch.Tensor, regularization: float) -> torch.Tensor:
    """A `(d, d)` covariance with a ridge that is a share of the mean variance: positive definite.

    Example:

    ```python
    >>> with_ridge(torch.tensor([[1.0, 2.0], [2.0, 5.0]]), regularization=2.0).tolist()
    [[7.0, 2.0], [2.0, 11.0]]
    ```
    """
    ridge = regularization * covariance.diagonal().mean()
    return covariance + ridge * torch.eye(len(covariance), dtype=covariance.dtype)


def canonical_pairs(
    x: torch.Tensor, y: torch.Tensor, components: int, regularization: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Directions that make x and y correlate most.

    Args:
        x: centred `(n, d_x)` data.
        y: centred `(n, d_y)` data.
        components: how many pairs, at most min(d_x, d_y).
        regularization: ridge, as a share of the mean variance.

    Returns:
        `(d_x, components)` and `(d_y, components)` projections, whose variates have unit regularised variance, and
        the `(components,)` canonical correlations, largest first.
    """

    whiten_x, whiten_y = (
        inverse_square_root(with_ridge(side.T @ side / len(side), regularization)) for side in (x, y)
    )
    left, correlations, right = torch.linalg.svd(whiten_x @ (x.T @ y / len(x)) @ whiten_y, full_matrices=False)
    return whiten_x @ left[:, :components], whiten_y @ right.T[:, :components], correlations[:components]


def softmax_regression(
    features: torch.Tensor, labels: torch.Tensor, regularization: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Multi-class logistic regression, by L-BFGS to convergence.

    Minimises the mean over items of -sum_c t_c log softmax(x W + b)_c, plus regularization / 2 * s^2 * ||W||^2. The
    targets t of an item are its classes, which share its weight; items without a class take no part. s^2 is the
    features' mean variance, so that one value serves features of any scale.

    Args:
        features: `(n, d)` float64.
        labels: `(n, classes)` multi-hot.
        regularization: above 0, which also makes the solution unique (the bias up to a constant).

    Returns:
        W `(d, classes)` and b `(classes,)`.
    """
    of_a_class = labels.any(dim=1)
    features, labels = features[of_a_class], labels[of_a_class]
    targets = class_shares(labels)
    mean, scale = features.mean(dim=0), features.var(dim=0, correction=0).mean().sqrt()
    x = (features - mean) / scale
    # L-BFGS takes its steps in coordinates in which the curvature is about the same everywhere: W = basis Z.
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    basis = vectors / (values.clamp(min=0) / labels.shape[1] + regularization).sqrt()
    x, norms = x @ basis, basis.norm(dim=0)[:, None]
    z = torch.zeros(x.shape[1], labels.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(labels.shape[1], dtype=x.dtype, requires_grad=True)
    solver = torch.optim.LBFGS(
        [z, bias], max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    @torch.enable_grad()
    def objective() -> torch.Tensor:
        solver.zero_grad()
        penalty = regularization / 2 * (norms * z).square().sum()
        loss = F.cross_entropy(x @ z + bias, targets) + penalty
        loss.backward()
        return loss

    solver.step(objective)
    weight, bias = basis @ z.detach() / scale, bias.detach()
    return weight, bias - mean @ weight
