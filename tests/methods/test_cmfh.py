"""CMFH: its objective from the equation, its steps against it, and the codes of pairs."""

from itertools import islice

import numpy as np
import pytest
import torch

from cmr_hub import CMFHConfig, CMFHModel
from cmr_hub.errors import NotFittedError
from cmr_hub.methods.cmfh.modeling_cmfh import alternate, objective

WEIGHTS = {"shares": (0.3, 0.7), "mu": 5.0, "gamma": 0.1}
IMAGE_DIM, TEXT_DIM, BITS = 7, 5, 8


@pytest.fixture
def views():
    torch.manual_seed(0)
    shared = torch.randn(60, 3, dtype=torch.float64)
    views = [
        shared @ torch.randn(3, dim, dtype=torch.float64) + 0.3 * torch.randn(60, dim, dtype=torch.float64)
        for dim in (IMAGE_DIM, TEXT_DIM)
    ]
    return [view - view.mean(dim=0) for view in views]


def states(views, count):
    both = torch.cat(views, dim=1)
    start = torch.randn(IMAGE_DIM + TEXT_DIM, BITS, dtype=torch.float64)
    return both.T @ both, list(islice(alternate(both.T @ both, start, IMAGE_DIM, **WEIGHTS), count))


def slow_objective(views, factors):
    """The paper's sum, an entry at a time."""
    codes = torch.cat(views, dim=1) @ factors.mixing
    total = sum(WEIGHTS["gamma"] * v.item() ** 2 for v in codes.flatten())
    for x, u, p, share in zip(views, factors.bases, factors.projections, WEIGHTS["shares"], strict=True):
        for row in range(len(x)):
            for column in range(x.shape[1]):
                total += share * (x[row, column] - codes[row] @ u[:, column]).item() ** 2
            for bit in range(BITS):
                total += WEIGHTS["mu"] * (codes[row, bit] - x[row] @ p[:, bit]).item() ** 2
        total += sum(WEIGHTS["gamma"] * value.item() ** 2 for value in (*u.flatten(), *p.flatten()))
    return total


def test_objective_is_the_papers_sum(views):
    gram, found = states(views, 3)
    for factors in found:
        assert objective(gram, factors, **WEIGHTS) == pytest.approx(slow_objective(views, factors), rel=1e-10)


def test_objective_falls_at_every_step(views):
    gram, found = states(views, 60)
    values = np.array([objective(gram, factors, **WEIGHTS) for factors in found])
    assert (np.diff(values) <= 1e-10 * values[:-1]).all()
    assert values[-1] < 0.5 * values[0]


def test_each_step_is_the_best_of_its_factors(views):
    x, y = views
    _, found = states(views, 2)
    for factors, free in ((found[0], ("bases", "projections")), (found[1], ("codes",))):
        values = {
            "bases": [u.clone().requires_grad_() for u in factors.bases],
            "projections": [p.clone().requires_grad_() for p in factors.projections],
            # Free of the features' span, in which the best is found.
            "codes": [(torch.cat(views, dim=1) @ factors.mixing).requires_grad_()],
        }
        (codes,) = values["codes"]
        loss = WEIGHTS["gamma"] * codes.square().sum()
        for view, u, p, share in zip((x, y), values["bases"], values["projections"], WEIGHTS["shares"], strict=True):
            loss = loss + share * (view - codes @ u).square().sum() + WEIGHTS["mu"] * (codes - view @ p).square().sum()
            loss = loss + WEIGHTS["gamma"] * (u.square().sum() + p.square().sum())
        loss.backward()
        for name in free:
            assert all(value.grad.abs().max() < 1e-9 * loss.item() for value in values[name])


def test_the_authors_ridge_is_gamma_for_all_factors(views):
    both = torch.cat(views, dim=1)
    start = torch.randn(IMAGE_DIM + TEXT_DIM, BITS, dtype=torch.float64)
    steps = alternate(both.T @ both, start, IMAGE_DIM, **WEIGHTS, ridge="gamma")
    factors = next(steps)
    codes = both @ start
    for x, u, p in zip(views, factors.bases, factors.projections, strict=True):
        for expected, found in ((ridge_regression(codes, x), u), (ridge_regression(x, codes), p)):
            torch.testing.assert_close(found, expected)
    gram, (weighted, _) = states(views, 2)
    plain = objective(gram, next(alternate(gram, weighted.mixing, IMAGE_DIM, **WEIGHTS, ridge="gamma")), **WEIGHTS)
    assert objective(gram, weighted, **WEIGHTS) < plain


def ridge_regression(inputs, targets):
    """Least squares with gamma times the identity below the inputs, by another solver."""
    width = inputs.shape[1]
    below = WEIGHTS["gamma"] ** 0.5 * torch.eye(width, dtype=inputs.dtype)
    zeros = torch.zeros(width, targets.shape[1], dtype=inputs.dtype)
    return torch.linalg.lstsq(torch.cat([inputs, below]), torch.cat([targets, zeros])).solution


def test_codes_of_pairs_are_the_closed_form_of_v(views):
    torch.manual_seed(1)
    x, y = (view.float() + 2 for view in views)
    config = CMFHConfig(image_dim=IMAGE_DIM, text_dim=TEXT_DIM, embed_dim=BITS, tolerance=1e-12, max_iterations=2000)
    model = CMFHModel(config).fit(x, y)
    codes = model.get_pair_features(x, y).double()
    assert codes.mean(dim=0).abs().max() < 1e-3 * codes.abs().max()
    # At the end U follows from V, and V from U and P.
    centred = [(view - view.mean(dim=0)).double() for view in (x, y)]
    eye = torch.eye(BITS, dtype=torch.float64)
    system, target = (2 * config.mu + config.gamma) * eye, 0
    for view, embed in zip(centred, (model.get_image_features(x), model.get_text_features(y)), strict=True):
        u = torch.linalg.solve(codes.T @ codes + config.gamma / 0.5 * eye, codes.T @ view)
        system = system + 0.5 * u @ u.T
        target = target + 0.5 * view @ u.T + config.mu * embed.double()
    torch.testing.assert_close(codes, torch.linalg.solve(system, target.T).T, rtol=1e-2, atol=1e-3)


def test_pairs_share_bits(views):
    torch.manual_seed(2)
    x, y = (view.float() for view in views)
    model = CMFHModel(CMFHConfig(image_dim=IMAGE_DIM, text_dim=TEXT_DIM, embed_dim=16)).fit(x, y)
    image, text, pair = model.get_image_features(x) > 0, model.get_text_features(y) > 0, model.get_pair_features(x, y)
    assert (image == text).float().mean() > 0.75
    assert min((codes == (pair > 0)).float().mean() for codes in (image, text)) > (image == text).float().mean()


def test_pairs_before_fitting_are_refused():
    model = CMFHModel(CMFHConfig(image_dim=IMAGE_DIM, text_dim=TEXT_DIM, embed_dim=BITS))
    with pytest.raises(NotFittedError, match="call fit"):
        model.get_pair_features(torch.zeros(1, IMAGE_DIM), torch.zeros(1, TEXT_DIM))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"image_share": 1.0}, "image_share must lie between 0 and 1, and is 1.0"),
        ({"mu": 0.0}, "mu must be above 0, and is 0.0"),
        ({"max_iterations": 0}, "max_iterations must be at least 1, and is 0"),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(Exception, match=message):
        CMFHConfig(image_dim=IMAGE_DIM, text_dim=TEXT_DIM, **setting)
