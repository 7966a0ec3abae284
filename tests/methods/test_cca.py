"""CCA as a model; its solver has its own tests (tests/test_solvers.py)."""

import numpy as np
import pytest
import torch

from cmr_hub import CCAConfig, CCAModel
from cmr_hub.errors import InputError, NotFittedError


@pytest.fixture
def views():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(200, 3))
    x = shared @ rng.normal(size=(3, 6)) + 0.5 * rng.normal(size=(200, 6))
    y = shared @ rng.normal(size=(3, 4)) + 0.5 * rng.normal(size=(200, 4))
    return x - x.mean(0), y - y.mean(0)


def fitted(views, **settings):
    x, y = (torch.from_numpy(view) + 3 for view in views)
    model = CCAModel(CCAConfig(image_dim=6, text_dim=4, embed_dim=2, **settings)).fit(x, y)
    return model, x.float(), y.float()


def test_embeddings_are_centred_variates_and_correlate(views):
    model, x, y = fitted(views)
    u, v = model.get_image_features(x), model.get_text_features(y)
    assert u.shape == v.shape == (200, 2)
    assert u.mean(0).abs().max() < 1e-4
    rho = [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(2)]
    np.testing.assert_allclose(rho, model.correlations, atol=1e-3)


def test_correlation_power_scales_each_direction(views):
    plain, x, _ = fitted(views)
    scaled, _, _ = fitted(views, correlation_power=4.0)
    torch.testing.assert_close(
        scaled.get_image_features(x), plain.get_image_features(x) * plain.correlations**4, rtol=1e-4, atol=1e-5
    )


def test_a_constant_feature_does_no_harm(views):
    x, y = views
    x = x.copy()
    x[:, 2] = 7.0
    model = CCAModel(CCAConfig(image_dim=6, text_dim=4, embed_dim=2)).fit(torch.from_numpy(x), torch.from_numpy(y))
    assert torch.isfinite(model.image_projection).all()


def test_unfitted_is_refused():
    with pytest.raises(NotFittedError, match="call fit"):
        CCAModel(CCAConfig(image_dim=6, text_dim=4, embed_dim=2)).get_image_features(torch.zeros(1, 6))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y: (x[:, :5], y), r"image features must have the shape \(n, 6\)"),
        (lambda x, y: (x[:9], y), "9 images against 200 texts"),
        (lambda x, y: (x[:1], y[:1]), "At least two pairs"),
        (lambda x, y: (x, torch.where(torch.arange(200)[:, None] == 17, torch.nan, y)), "Row 17 of the text features"),
    ],
)
def test_bad_pairs(views, spoil, message):
    x, y = (torch.from_numpy(view) for view in views)
    with pytest.raises(InputError, match=message):
        CCAModel(CCAConfig(image_dim=6, text_dim=4, embed_dim=2)).fit(*spoil(x, y))


def test_more_components_than_the_data_have():
    with pytest.raises(Exception, match=r"min\(image_dim, text_dim\) = 4 canonical pairs; embed_dim is 5"):
        CCAConfig(image_dim=6, text_dim=4, embed_dim=5)
