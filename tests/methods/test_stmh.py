"""STMH's steps against normal equations and loops; its objective falls at every step."""

import itertools

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub.methods.stmh import STMHConfig, STMHModel
from cmr_hub.methods.stmh.modeling_stmh import (
    alternate,
    image_concepts,
    objective,
    ridge_factor,
    row_norms,
    text_topics,
)

SIZES = {"image_dim": 12, "text_dim": 7, "embed_dim": 8}


@pytest.fixture
def views():
    torch.manual_seed(0)
    shared = torch.randn(60, 3)
    return shared @ torch.randn(3, 12) + 0.3 * torch.randn(60, 12), shared @ torch.randn(3, 7) + 0.3 * torch.randn(
        60, 7
    )


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def random_signs(*shape):
    return torch.where(random(*shape) > 0, 1.0, -1.0).double()


def test_row_norms_sum_to_the_l21_norm():
    torch.manual_seed(0)
    residual = random(9, 4)
    slow = sum(sum(value**2 for value in row) ** 0.5 for row in residual.tolist())
    assert row_norms(residual).sum().item() == pytest.approx(slow, rel=1e-4)


def test_ridge_factor_is_where_the_gradient_vanishes():
    torch.manual_seed(0)
    items, codes, weights = random(20, 5), random(20, 8), torch.rand(20).double()
    factor = ridge_factor(items, codes, 0.3, weights).requires_grad_()
    loss = (weights * (items - codes @ factor).square().sum(dim=1)).sum() + 0.3 * factor.square().sum()
    (gradient,) = torch.autograd.grad(loss, factor)
    assert gradient.abs().max() < 1e-10


def test_concepts_solve_each_image_by_itself():
    torch.manual_seed(0)
    images, targets, basis, mapping = random(10, 12), random_signs(10, 8), random(8, 12), random(8, 8)
    weights = torch.rand(10).double() * 50
    ours = image_concepts(images, targets, basis, mapping, weights, 0.7, 0.2)
    for i in range(10):
        left = weights[i] * basis @ basis.T + 0.7 * mapping @ mapping.T + 0.2 * torch.eye(8)
        right = weights[i] * basis @ images[i] + 0.7 * mapping @ targets[i]
        np.testing.assert_allclose(ours[i], np.linalg.solve(left.numpy(), right.numpy()), atol=1e-8)


def test_each_topic_is_the_best_given_the_others():
    torch.manual_seed(0)
    texts, topics, patterns, said = random(10, 7), random_signs(10, 4), random(4, 7), random(10, 4)

    def loss(code, i):
        return (texts[i] - code @ patterns).square().sum() + 0.5 * (code - said[i]).square().sum()

    slow = topics.clone()
    for i, bit in itertools.product(range(10), range(4)):
        both = [torch.where(torch.arange(4) == bit, sign, slow[i]) for sign in (-1.0, 1.0)]
        slow[i] = min(both, key=lambda code: loss(code, i).item())
    ours = text_topics(texts, topics, patterns, said, 0.5)
    torch.testing.assert_close(ours, slow)
    assert set(ours.flatten().tolist()) == {-1.0, 1.0}


def test_the_objective_falls_at_every_step():
    torch.manual_seed(0)
    images, texts = random(60, 12) / 12**0.5, random(60, 7) / 7**0.5
    config = STMHConfig(**SIZES, iterations=8)
    losses = torch.stack([objective(images, texts, factors, config) for factors in alternate(images, texts, config)])
    assert len(losses) == 1 + 5 * 8
    assert (losses.diff() <= 1e-10).all()
    assert losses[-1] < 0.9 * losses[0]


def test_an_outlier_moves_the_basis_less_than_squares_let_it(views):
    images, texts = (view.double() for view in views)
    torch.manual_seed(0)
    *_, clean = alternate(images, texts, STMHConfig(**SIZES))
    weights = 1 / (2 * row_norms(images - clean.concepts @ clean.basis))
    spoilt, codes = images.clone(), clean.concepts
    spoilt[0] += 100
    robust = 1 / (2 * row_norms(spoilt - codes @ clean.basis))
    moved = [
        (ridge_factor(spoilt, codes, 1e-2, w) - ridge_factor(images, codes, 1e-2, v)).norm()
        for w, v in ((robust, weights), (None, None))
    ]
    assert moved[0] < 0.5 * moved[1]


def test_pairs_lie_nearer_than_strangers(views):
    torch.manual_seed(0)
    model = STMHModel(STMHConfig(**{**SIZES, "embed_dim": 32})).fit(*views)
    agreement = model.get_image_features(views[0]).sign() @ model.get_text_features(views[1]).sign().T
    assert agreement.diagonal().mean() > agreement.mean() + 5


def test_a_constant_feature_and_more_bits_than_features_do_no_harm(views):
    views[0][:, 3] = 7.0
    torch.manual_seed(0)
    model = STMHModel(STMHConfig(**{**SIZES, "embed_dim": 64})).fit(*views)
    assert torch.isfinite(model.get_image_features(views[0])).all()
    assert torch.isfinite(model.get_text_features(views[1])).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1, and is 0"),
        ({"image_weight": 0.0}, "image_weight must be above 0, and is 0.0"),
        ({"regularization": -1.0}, "regularization must be above 0, and is -1.0"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        STMHConfig(**{**SIZES, **settings})
