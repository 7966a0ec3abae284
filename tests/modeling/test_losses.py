"""The shared terms against loops over single items."""

import math

import pytest
import torch

from cmr_hub.modeling.losses import (
    classification_loss,
    label_loss,
    label_similarity,
    modality_invariance_loss,
    pairwise_likelihood_loss,
    residual_norm,
)

LABELS = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 1], [1, 0, 0]])


def test_label_similarity():
    slow = [[float(any(x and y for x, y in zip(a, b, strict=True))) for b in LABELS] for a in LABELS]
    assert label_similarity(LABELS).tolist() == slow
    assert label_similarity(LABELS[:2], LABELS).tolist() == slow[:2]


def test_pairwise_likelihood():
    theta = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    similar = label_similarity(LABELS)
    slow = sum(
        math.log(1 + math.exp(t)) - s * t
        for t, s in zip(theta.flatten().tolist(), similar.flatten().tolist(), strict=True)
    )
    assert pairwise_likelihood_loss(theta, similar).item() == pytest.approx(slow / 16, abs=1e-6)


def test_pairwise_likelihood_does_not_overflow():
    assert pairwise_likelihood_loss(torch.tensor([[1e4]]), torch.tensor([[1.0]])).item() == 0


def slow_norm(residual, kind):
    rows = [sum(x * x for x in row) for row in residual.tolist()]
    return sum(map(math.sqrt, rows)) / len(rows) if kind == "rowwise" else math.sqrt(sum(rows)) / len(rows)


@pytest.mark.parametrize("kind", ["frobenius", "rowwise"])
def test_residuals(kind):
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 4, 3, generator=generator)
    assert residual_norm(u, kind).item() == pytest.approx(slow_norm(u, kind), abs=1e-6)
    assert modality_invariance_loss(u, v, kind).item() == pytest.approx(slow_norm(u - v, kind), abs=1e-6)
    slow = slow_norm(u - LABELS, kind) + slow_norm(v - LABELS, kind)
    assert label_loss(u, v, LABELS, kind).item() == pytest.approx(slow, abs=1e-6)


def test_classification_splits_several_classes_and_skips_none():
    labels = torch.cat([LABELS, torch.zeros(1, 3)])
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    slow = 0.0
    for rows in logits.tolist():
        for row, label in zip(rows, labels.tolist(), strict=True):
            total = math.log(sum(math.exp(x) for x in row))
            slow += sum(y * (total - x) for x, y in zip(row, label, strict=True)) / max(1, sum(label)) / 5
    assert classification_loss(logits[0], logits[1], labels).item() == pytest.approx(slow, abs=1e-6)


@pytest.mark.parametrize(
    "loss", [label_loss, classification_loss, lambda u, v, labels: modality_invariance_loss(u, v)]
)
def test_gradients_against_finite_differences(loss):
    u, v = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, LABELS.double()), (u, v))
