"""Deep CCA's loss against a generalised eigen-solver, and its projections against their definition."""

import numpy as np
import pytest
import scipy.linalg
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub.methods.dcca import DCCAConfig, DCCAModel
from cmr_hub.methods.dcca.modeling_dcca import correlation_loss, modified_cube_root

N = 40


@pytest.fixture
def views():
    torch.manual_seed(0)
    shared = torch.randn(N, 2)
    image = shared @ torch.randn(2, 6) + 0.5 * torch.randn(N, 6) + 3
    return image, shared @ torch.randn(2, 4) + 0.5 * torch.randn(N, 4)


def make_model(**settings):
    torch.manual_seed(1)
    sizes = {"hidden_dim": 16, "output_dim": 4, "embed_dim": 3, **settings}
    return DCCAModel(DCCAConfig(image_dim=6, text_dim=4, **sizes))


def slow_correlations(x, y, ridge):
    x, y = x - x.mean(0), y - y.mean(0)
    cxx, cyy, cxy = x.T @ x / len(x), y.T @ y / len(y), x.T @ y / len(x)
    cxx += (ridge * np.trace(cxx) / len(cxx) + 1e-8) * np.eye(len(cxx))
    cyy += (ridge * np.trace(cyy) / len(cyy) + 1e-8) * np.eye(len(cyy))
    # Cxy Cyy^-1 Cyx w = rho^2 Cxx w, solved without any whitening.
    return np.sqrt(scipy.linalg.eigh(cxy @ np.linalg.solve(cyy, cxy.T), cxx, eigvals_only=True)[::-1].clip(0))


@pytest.mark.parametrize("components", [1, 4])
def test_the_loss_is_the_sum_of_canonical_correlations(views, components):
    x, y = views[0][:, :4], views[1]
    slow = slow_correlations(x.double().numpy(), y.double().numpy(), 0.1)[:components].sum()
    assert -correlation_loss(x, y, components, 0.1).item() == pytest.approx(slow, abs=1e-9)


def test_the_loss_has_the_gradient_of_its_values(views):
    x, y = (view[:9].double().requires_grad_() for view in views)
    assert torch.autograd.gradcheck(lambda x, y: correlation_loss(x, y, 3, 0.1), (x, y))


def test_the_gradient_exists_where_all_correlations_are_the_same():
    x = torch.linalg.qr(torch.randn(N, 3, dtype=torch.float64) - 0.1)[0].requires_grad_()
    correlation_loss(x, 2 * x, 3, 1e-3).backward()
    assert torch.isfinite(x.grad).all()


def test_the_activation_solves_its_equation():
    x = torch.linspace(-50, 50, 1001, dtype=torch.float64, requires_grad=True)
    s = modified_cube_root(x)
    torch.testing.assert_close(s**3 / 3 + s, x)
    (slope,) = torch.autograd.grad(s.sum(), x)
    torch.testing.assert_close(slope, 1 / (1 + s**2))  # by the rule for inverse functions


def test_gradients_reach_every_weight_but_the_last_biases(views):
    model = make_model(hidden_layers=2)
    model(*views).loss.backward()
    # A correlation does not see what is added to all outputs.
    unseen = {name for name, p in model.named_parameters() if p.grad.abs().max() < 1e-6}
    assert unseen == {"image_network.7.bias", "text_network.7.bias"}


def test_fitted_embeddings_are_centred_uncorrelated_and_of_unit_variance(views):
    model = make_model(regularization=1e-7).eval()
    model.fit_projections(*views)
    u, v = model.get_image_features(views[0]), model.get_text_features(views[1])
    for x in (u, v):
        assert x.mean(0).abs().max() < 1e-4
        torch.testing.assert_close(x.T @ x / N, torch.eye(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(u.T @ v / N, torch.diag(model.correlations), atol=1e-3, rtol=0)
    assert model.correlations.sum().item() == pytest.approx(-model(*views).loss.item(), abs=1e-2)


def test_correlation_power_scales_each_direction(views):
    plain, scaled = make_model(), make_model(correlation_power=2.0)
    for model in (plain.eval(), scaled.eval()):
        model.fit_projections(*views)
    torch.testing.assert_close(
        scaled.get_text_features(views[1]), plain.get_text_features(views[1]) * plain.correlations**2
    )


def test_fitting_leaves_the_mode_as_it_was_and_ignores_dropout(views):
    model, twin = make_model(dropout=0.5).train(), make_model(dropout=0.5).eval()
    for one in (model, twin):
        one.fit_projections(*views)
    assert model.training
    torch.testing.assert_close(model.image_projection, twin.image_projection)


def test_an_untrained_model_embeds_and_constant_outputs_leave_the_projections_alone(views):
    model = make_model().eval()
    before = model.get_image_features(views[0])
    assert before.shape == (N, 3)
    model.fit_projections(torch.ones(N, 6), views[1])
    torch.testing.assert_close(model.get_image_features(views[0]), before)


def test_one_side_alone_needs_no_other(views):
    model = make_model().eval()
    both = model(*views)
    torch.testing.assert_close(model(image_features=views[0]).image_embeds, both.image_embeds)
    torch.testing.assert_close(model(text_features=views[1]).text_embeds, both.text_embeds)
    assert model(text_features=views[1]).loss is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embed_dim": 5}, "at most output_dim = 4 canonical pairs; embed_dim is 5"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), and is 1.0"),
        ({"regularization": 0.0}, "regularization must be above 0, and is 0.0"),
        ({"hidden_layers": 0}, "hidden_layers must be at least 1, and is 0"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        make_model(**settings)
