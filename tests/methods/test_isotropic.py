"""Isotropic hashing: what its rotation must keep and what it must make equal."""

import logging
from itertools import pairwise

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from closeness import assert_alike
from cmr_hub.methods.isotropic import IsotropicConfig, IsotropicModel
from cmr_hub.methods.isotropic.modeling_isotropic import isotropic_rotation, lift, project

DIMS = {"image_dim": 12, "text_dim": 10}


def pairs(count=200):
    torch.manual_seed(0)
    shared = torch.randn(count, 6)
    return tuple(shared @ torch.randn(6, dim) + 0.3 * torch.randn(count, dim) for dim in DIMS.values())


def fitted(seed=0, **settings):
    image, text = pairs()
    torch.manual_seed(seed)
    model = IsotropicModel(IsotropicConfig(**DIMS, **{"embed_dim": 8, **settings}))
    return model.fit(image, text), image, text


@pytest.fixture
def variances():
    return torch.tensor([9.0, 4.0, 2.5, 1.0, 0.3, 0.05, 0.0], dtype=torch.float64)


def orthogonal(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))[0]


def test_the_rotation_is_orthogonal_and_makes_variances_equal(variances):
    rotation = isotropic_rotation(variances, orthogonal(7), 1e-9, 5000)
    rotated = rotation.T @ variances.diag() @ rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(7), atol=1e-12)
    np.testing.assert_allclose(rotated.diagonal(), np.full(7, variances.mean()), rtol=1e-8)
    np.testing.assert_allclose(np.linalg.eigvalsh(rotated.numpy())[::-1], variances, atol=1e-12)
    assert rotated.trace().item() == pytest.approx(variances.sum().item())


def test_each_step_is_nearer_to_equal_variances(variances):
    rotation, distances = orthogonal(7, seed=1), []
    lifted = rotation.T @ variances.diag() @ rotation
    for _ in range(60):
        distances.append((lifted.diagonal() - variances.mean()).norm().item())
        lifted, _ = lift(project(lifted), variances)
    assert all(after <= before + 1e-12 for before, after in pairwise(distances))
    assert distances[-1] < 0.01 * distances[0]


def test_lift_and_project_find_the_nearest(variances):
    matrix = orthogonal(7).T @ variances.diag() @ orthogonal(7) + 0.1 * torch.eye(7).flip(0)
    nearest, rotation = lift(matrix, variances)
    torch.testing.assert_close(rotation.T @ variances.diag() @ rotation, nearest)
    for seed in range(50):
        other = orthogonal(7, seed).T @ variances.diag() @ orthogonal(7, seed)
        assert (matrix - nearest).norm() <= (matrix - other).norm()
    levelled = project(matrix)
    assert levelled.diagonal().tolist() == pytest.approx([matrix.trace().item() / 7] * 7)
    assert (levelled - matrix).fill_diagonal_(0).abs().max() == 0


def test_a_search_cut_short_says_so(variances, caplog):
    with caplog.at_level(logging.WARNING):
        isotropic_rotation(variances, orthogonal(7), 1e-12, 1)
    assert "After 1 steps" in caplog.text
    assert "raise max_iterations" in caplog.text


def test_equal_variances_need_no_step():
    start = orthogonal(4)
    assert isotropic_rotation(torch.full((4,), 2.0, dtype=torch.float64), start, 1e-9, 1) is start
    assert isotropic_rotation(torch.zeros(4, dtype=torch.float64), start, 1e-9, 1) is start


def test_the_bits_of_a_model_have_the_same_variance_and_keep_the_largest():
    model, image, text = fitted(tolerance=1e-6, max_iterations=5000)
    values = torch.cat([model.get_image_features(image), model.get_text_features(text)]).double()
    bits = values.var(dim=0, correction=0)
    np.testing.assert_allclose(bits, bits.mean().expand(8), rtol=1e-4)
    assert values.mean(dim=0).abs().max() < 1e-5
    variates = torch.cat([model.image_variates(image), model.text_variates(text)]).double().numpy()
    spectrum = np.linalg.eigvalsh(np.cov((variates / np.linalg.norm(variates, axis=1, keepdims=True)).T, bias=True))
    assert bits.sum().item() == pytest.approx(spectrum[::-1][:8].sum(), rel=1e-4)


def test_chance_is_the_seed():
    (first, *_), (again, *_), (other, *_) = fitted(0), fitted(0), fitted(1)
    assert_alike(first.directions, again.directions)
    assert not torch.allclose(first.directions, other.directions)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embed_dim": 16}, r"at most min\(common_dim, image_dim, text_dim\) = 10; embed_dim is 16"),
        ({"embed_dim": 16, "text_dim": 50, "common_dim": 11}, "= 11; embed_dim is 16"),
        ({"embed_dim": 8, "tolerance": 0.0}, "tolerance must be above 0"),
        ({"embed_dim": 8, "max_iterations": 0}, "max_iterations at least 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        IsotropicConfig(**{**DIMS, **settings})
