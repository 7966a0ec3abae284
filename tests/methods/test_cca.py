"""CCA against independent solvers."""

import numpy as np
import pytest
import scipy.linalg
import torch

from cmr_hub import CCAConfig, CCAModel
from cmr_hub.errors import InputError, NotFittedError
from cmr_hub.methods.cca.modeling_cca import canonical_pairs


@pytest.fixture
def views():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(200, 3))
    x = shared @ rng.normal(size=(3, 6)) + 0.5 * rng.normal(size=(200, 6))
    y = shared @ rng.normal(size=(3, 4)) + 0.5 * rng.normal(size=(200, 4))
    return x - x.mean(0), y - y.mean(0)


def test_correlations_solve_the_generalised_eigenproblem(views):
    x, y = views
    ridge = 1e-2
    cxx, cyy, cxy = x.T @ x / 200, y.T @ y / 200, x.T @ y / 200
    cxx += ridge * np.trace(cxx) / 6 * np.eye(6)
    cyy += ridge * np.trace(cyy) / 4 * np.eye(4)
    # Cxy Cyy^-1 Cyx w = rho^2 Cxx w, solved without any whitening.
    rho_squared = scipy.linalg.eigh(cxy @ np.linalg.solve(cyy, cxy.T), cxx, eigvals_only=True)[::-1]
    a, b, rho = canonical_pairs(torch.from_numpy(x), torch.from_numpy(y), 4, ridge)
    np.testing.assert_allclose(rho.numpy() ** 2, rho_squared[:4], atol=1e-10)
    np.testing.assert_allclose(a.numpy().T @ cxx @ a.numpy(), np.eye(4), atol=1e-8)
    np.testing.assert_allclose(a.numpy().T @ cxy @ b.numpy(), np.diag(rho.numpy()), atol=1e-8)


def test_projections_agree_with_scikit_learn(views):
    cross_decomposition = pytest.importorskip("sklearn.cross_decomposition")
    x, y = views
    theirs = cross_decomposition.CCA(n_components=2, scale=False, max_iter=10_000, tol=1e-12).fit(x, y)
    ours, _, rho = canonical_pairs(torch.from_numpy(x), torch.from_numpy(y), 2, 1e-10)
    scores = theirs.transform(x)
    for component in range(2):
        likeness = np.corrcoef(scores[:, component], x @ ours.numpy()[:, component])[0, 1]
        assert abs(likeness) == pytest.approx(1, abs=1e-4)
    pairs = zip(*theirs.transform(x, y), strict=True)
    their_rho = np.corrcoef(np.array([[u[0], v[0]] for u, v in pairs]).T)[0, 1]
    assert rho[0].item() == pytest.approx(abs(their_rho), abs=1e-5)


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
