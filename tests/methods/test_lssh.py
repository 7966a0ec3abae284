"""LSSH's steps against scikit-learn, SciPy and normal equations; its objective falls at every step."""

import numpy as np
import pytest
import scipy.optimize
import torch
from huggingface_hub.errors import StrictDataclassError
from sklearn.linear_model import Lasso

from cmr_hub.errors import NotFittedError
from cmr_hub.methods.lssh import LSSHConfig, LSSHModel
from cmr_hub.methods.lssh.modeling_lssh import (
    alternate,
    latent_factors,
    learn_atoms,
    objective,
    sparse_codes,
    sparse_coding_loss,
)

SIZES = {"image_dim": 12, "text_dim": 7, "embed_dim": 8, "image_components": 6, "dictionary_size": 20}


@pytest.fixture
def views():
    torch.manual_seed(0)
    shared = torch.randn(50, 3)
    return shared @ torch.randn(3, 12) + 0.3 * torch.randn(50, 12), shared @ torch.randn(3, 7) + torch.randn(50, 7)


def unit(*shape):
    return torch.nn.functional.normalize(torch.randn(*shape, dtype=torch.float64), dim=1)


@pytest.mark.parametrize("sparsity", [0.05, 0.3])
def test_sparse_codes_solve_the_lasso(sparsity):
    torch.manual_seed(0)
    x, dictionary = unit(9, 6), unit(15, 6)
    ours = sparse_codes(x, dictionary, sparsity, steps=3000)
    # scikit-learn minimises ||x - D^T s||^2 / (2 d) + alpha |s|_1.
    lasso = Lasso(alpha=sparsity / (2 * 6), fit_intercept=False, tol=1e-10, max_iter=100_000)
    theirs = torch.from_numpy(np.stack([lasso.fit(dictionary.numpy().T, item).coef_ for item in x.numpy()]))
    best, reached = (sparse_coding_loss(x, codes, dictionary, sparsity) for codes in (theirs, ours))
    assert (reached <= best + 1e-7).all()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    assert (ours == 0).any()


def test_an_item_is_coded_alone_as_in_company():
    torch.manual_seed(0)
    x, dictionary = unit(9, 6), unit(15, 6)
    together = sparse_codes(x, dictionary, 0.1, steps=10)
    torch.testing.assert_close(sparse_codes(x[4:5], dictionary, 0.1, steps=10), together[4:5])


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_no_code_is_worse_than_its_start(steps):
    torch.manual_seed(0)
    x, dictionary, start = unit(40, 6), unit(15, 6), 0.1 * unit(40, 15)
    codes = sparse_codes(x, dictionary, 0.2, steps, start)
    before, after = (sparse_coding_loss(x, s, dictionary, 0.2) for s in (start, codes))
    assert (after <= before).all()
    assert (after < before).any()


def test_atoms_solve_the_constrained_least_squares():
    torch.manual_seed(0)
    x, codes, start = 2 * unit(40, 3), unit(40, 4), unit(4, 3)
    codes[:, 3] = 0  # an atom that no item uses
    ours = learn_atoms(x, codes, start, sweeps=500)
    torch.testing.assert_close(ours[3], start[3])

    def loss(atoms):
        return ((x[:, :].numpy() - codes[:, :3].numpy() @ atoms.reshape(3, 3)) ** 2).sum()

    ball = {"type": "ineq", "fun": lambda atoms: 1 - (atoms.reshape(3, 3) ** 2).sum(axis=1)}
    theirs = scipy.optimize.minimize(loss, start[:3].numpy().ravel(), constraints=ball, options={"ftol": 1e-14})
    assert theirs.success
    np.testing.assert_allclose(ours[:3], theirs.x.reshape(3, 3), atol=1e-4)
    assert ours.norm(dim=1).max() <= 1 + 1e-12


def test_latent_factors_are_where_the_gradient_vanishes():
    torch.manual_seed(0)
    y, mapped, basis = unit(10, 7), unit(10, 8), unit(8, 7)
    latent = latent_factors(y, mapped, basis, 0.5, 1.3).requires_grad_()
    loss = 0.5 * (y - latent @ basis).square().sum() + 1.3 * (latent - mapped).square().sum()
    (gradient,) = torch.autograd.grad(loss, latent)
    assert gradient.abs().max() < 1e-12


def test_the_objective_falls_at_every_step():
    torch.manual_seed(0)
    x, y = unit(60, 6), unit(60, 7)
    config = LSSHConfig(**SIZES, iterations=8, sparse_steps=4)
    losses = torch.stack([objective(x, y, factors, config) for factors in alternate(x, y, config)])
    assert len(losses) == 1 + 4 * 8
    assert (losses.diff() <= 1e-10).all()
    assert losses[-1] < 0.9 * losses[0]


def test_the_pair_lies_between_its_sides(views):
    torch.manual_seed(0)
    model = LSSHModel(LSSHConfig(**SIZES)).fit(*views)
    image, text, pair = (
        model.get_image_features(views[0]),
        model.get_text_features(views[1]),
        model.get_pair_features(*views),
    )
    # A is linear in what each side says: (mu U U^T + gamma I) A = mu Y U^T + gamma S R.
    left = 0.5 * model.basis @ model.basis.T + torch.eye(8)
    torch.testing.assert_close(pair, text + torch.linalg.solve(left, image, left=False), rtol=1e-4, atol=1e-5)


def test_pairs_lie_nearer_than_strangers(views):
    torch.manual_seed(0)
    model = LSSHModel(LSSHConfig(**{**SIZES, "embed_dim": 32})).fit(*views)
    agreement = model.get_image_features(views[0]).sign() @ model.get_text_features(views[1]).sign().T
    assert agreement.diagonal().mean() > agreement.mean() + 3


def test_more_components_than_features_and_a_constant_feature_do_no_harm(views):
    views[0][:, 3] = 7.0
    torch.manual_seed(0)
    model = LSSHModel(LSSHConfig(**{**SIZES, "image_components": 64})).fit(*views)
    assert model.components.shape == (12, 12)
    assert torch.isfinite(model.get_pair_features(*views)).all()
    # An item that equals the mean has no direction, and no code.
    assert (model.get_text_features(model.text_mean[None]) == 0).all()


def test_unfitted_is_refused():
    with pytest.raises(NotFittedError, match="call fit"):
        LSSHModel(LSSHConfig(**SIZES)).get_pair_features(torch.zeros(1, 12), torch.zeros(1, 7))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dictionary_size": 0}, "dictionary_size must be at least 1, and is 0"),
        ({"sparsity": 0.0}, "sparsity must be above 0, and is 0.0"),
        ({"gamma": -1.0}, "gamma must be above 0, and is -1.0"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        LSSHConfig(**{**SIZES, **settings})
