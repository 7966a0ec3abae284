"""The shared terms against loops over single items."""

import math

import pytest
import torch

from cmr_hub.losses import pairwise_likelihood_loss, residual_norm, share_a_class

LABELS = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 1], [1, 0, 0]])


def test_share_a_class():
    slow = [[float(any(x and y for x, y in zip(a, b, strict=True))) for b in LABELS] for a in LABELS]
    assert share_a_class(LABELS).tolist() == slow


def test_pairwise_likelihood():
    theta = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    similar = share_a_class(LABELS)
    slow = sum(
        math.log(1 + math.exp(t)) - s * t
        for t, s in zip(theta.flatten().tolist(), similar.flatten().tolist(), strict=True)
    )
    assert pairwise_likelihood_loss(theta, similar).item() == pytest.approx(slow / 16, abs=1e-6)


def test_pairwise_likelihood_does_not_overflow():
    assert pairwise_likelihood_loss(torch.tensor([[1e4]]), torch.tensor([[1.0]])).item() == 0


@pytest.mark.parametrize("kind", ["frobenius", "rowwise"])
def test_residual_norm(kind):
    residual = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    rows = [sum(x * x for x in row) for row in residual.tolist()]
    slow = sum(map(math.sqrt, rows)) / 5 if kind == "rowwise" else math.sqrt(sum(rows)) / 5
    assert residual_norm(residual, kind).item() == pytest.approx(slow, abs=1e-6)
