"""Closed forms and convex problems that two or more methods build on."""

from __future__ import annotations

import torch


def inverse_square_root(covariance: torch.Tensor) -> torch.Tensor:
    """C^(-1/2) of a symmetric positive definite `(d, d)` matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors / values.sqrt() @ vectors.T


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

    def covariance(data: torch.Tensor) -> torch.Tensor:
        matrix = data.T @ data / len(data)
        return matrix + regularization * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=data.dtype)

    whiten_x, whiten_y = inverse_square_root(covariance(x)), inverse_square_root(covariance(y))
    left, correlations, right = torch.linalg.svd(whiten_x @ (x.T @ y / len(x)) @ whiten_y, full_matrices=False)
    return whiten_x @ left[:, :components], whiten_y @ right.T[:, :components], correlations[:components]
