"""Closed forms and convex problems that two or more methods build on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from .losses import class_shares


def inverse_square_root(covariance: torch.Tensor) -> torch.Tensor:
    """C^(-1/2) of a symmetric positive definite `(d, d)` matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors / values.sqrt() @ vectors.T


def principal_axes(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Variances `(d,)` of `(n, d)` points of mean zero, largest first, and the axes `(d, d)` that they lie along."""
    variances, axes = torch.linalg.eigh(points.T @ points / len(points))
    return variances.flip(0).clamp(min=0), axes.flip(1)


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


def ridge_covariance(data: torch.Tensor, regularization: float) -> torch.Tensor:
    """The covariance of centred `(n, d)` data, [`with_ridge`]."""
    return with_ridge(data.T @ data / len(data), regularization)


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
    whiten_x, whiten_y = (inverse_square_root(ridge_covariance(data, regularization)) for data in (x, y))
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
    return _ridge_regression(
        features, lambda logits: F.cross_entropy(logits, targets), labels.shape[1], 1 / labels.shape[1], regularization
    )


def logistic_regressions(
    features: torch.Tensor, targets: torch.Tensor, regularization: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Many two-class logistic regressions on the same features, all at once, by L-BFGS to convergence.

    Minimises for each target t the mean over items of log(1 + e^f) - t f with f = x w + b, plus
    regularization / 2 * s^2 * ||w||^2, where s^2 is the features' mean variance.

    Args:
        features: `(n, d)` float.
        targets: `(n, m)` of 0 and 1, one column a regression. Of a column that is constant only the bias grows, until
            L-BFGS stops.
        regularization: above 0, which also makes the solution unique.

    Returns:
        Weights `(d, m)` and biases `(m,)`.
    """

    def negative_log_likelihood(logits: torch.Tensor) -> torch.Tensor:
        return (F.softplus(logits) - targets * logits).sum() / len(targets)

    return _ridge_regression(features, negative_log_likelihood, targets.shape[1], 1 / 4, regularization)


def _ridge_regression(
    features: torch.Tensor,
    data_loss: Callable[[torch.Tensor], torch.Tensor],
    outputs: int,
    curvature: float,
    regularization: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise data_loss(x W + b) + regularization / 2 * s^2 * ||W||^2 over W `(d, outputs)` and b `(outputs,)`.

    `curvature` is about the second derivative of `data_loss` in one logit, times n.
    """
    mean, scale = features.mean(dim=0), features.var(dim=0, correction=0).mean().sqrt()
    scale = scale.clamp(min=torch.finfo(scale.dtype).tiny)  # of constant features, whose weights stay zero
    x = (features - mean) / scale
    # L-BFGS takes its steps in coordinates in which the curvature is about the same everywhere: W = basis Z.
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    basis = vectors / (curvature * values.clamp(min=0) + regularization).sqrt()
    x, norms = x @ basis, basis.norm(dim=0)[:, None]
    z = torch.zeros(x.shape[1], outputs, dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(outputs, dtype=x.dtype, requires_grad=True)
    solver = torch.optim.LBFGS(
        [z, bias], max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    @torch.enable_grad()
    def objective() -> torch.Tensor:
        solver.zero_grad()
        loss = data_loss(x @ z + bias) + regularization / 2 * (norms * z).square().sum()
        loss.backward()
        return loss

    solver.step(objective)
    weight, bias = basis @ z.detach() / scale, bias.detach()
    return weight, bias - mean @ weight
