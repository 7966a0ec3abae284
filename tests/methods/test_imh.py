"""IMH: its graph, its codes and its hash functions against the problem as it is written, `(n, n)` matrices and all."""

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.linear_model import Ridge

from cmr_hub import IMHConfig, IMHModel
from cmr_hub.errors import NotFittedError
from cmr_hub.methods.imh.modeling_imh import neighbor_laplacian, ridge_regression, shared_codes

SETTINGS = {"neighbors": 3, "intra_media": 0.7, "regularization": 0.2}


@pytest.fixture
def views():
    torch.manual_seed(0)
    shared = torch.randn(50, 3, dtype=torch.float64)
    views = [
        shared @ torch.randn(3, dim, dtype=torch.float64) + torch.randn(50, dim, dtype=torch.float64) for dim in (6, 4)
    ]
    return [view - view.mean(dim=0) for view in views]


def slow_laplacian(features, k):
    distances = torch.cdist(features, features).numpy()
    graph = np.zeros_like(distances)
    for i, row in enumerate(distances):
        for j in [j for j in np.argsort(row) if j != i][:k]:
            graph[i, j] = graph[j, i] = 1
    scale = np.diag(graph.sum(axis=1) ** -0.5)
    return np.eye(len(graph)) - scale @ graph @ scale


def full_cost(views):
    """M of tr(F^T M F), `(n, n)`, from the objective with the hash functions solved for F."""
    n = len(views[0])
    cost = np.zeros((n, n))
    for x in views:
        ridge = SETTINGS["regularization"] * x.square().mean().item() * n
        x = x.numpy()
        smoother = x @ np.linalg.inv(x.T @ x + ridge * np.eye(x.shape[1])) @ x.T
        cost += np.eye(n) - smoother + SETTINGS["intra_media"] * slow_laplacian(torch.from_numpy(x), 3)
    return cost


def test_laplacian_is_that_of_the_nearest_neighbours(views):
    for x in views:
        found = neighbor_laplacian(x, 3)
        np.testing.assert_allclose(found.toarray(), slow_laplacian(x, 3), atol=1e-12)
        assert np.linalg.eigvalsh(found.toarray()).min() > -1e-9


def solved(views, bits):
    """C of the views' codes, by way of the pieces that the model puts together."""
    both, of_each = torch.cat(views, dim=1), (slice(None, views[0].shape[1]), slice(views[0].shape[1], None))
    covariance = both.T @ both / len(both)
    laplacian = sum(slow_laplacian(view, SETTINGS["neighbors"]) for view in views)
    regressions = [(columns, ridge_regression(covariance, columns, SETTINGS["regularization"])) for columns in of_each]
    roughness = both.T @ torch.from_numpy(laplacian) @ both / len(both)
    return shared_codes(covariance, roughness, regressions, bits, SETTINGS["intra_media"])


def test_codes_cost_least_in_the_features_span(views):
    both, n = torch.cat(views, dim=1).numpy(), len(views[0])
    codes = both @ solved(views, bits=5).numpy()
    np.testing.assert_allclose(codes.T @ codes / n, np.eye(5), atol=1e-6)
    cost = full_cost(views)
    basis = scipy.linalg.orth(both)
    best = np.linalg.eigvalsh(basis.T @ cost @ basis)[:5]
    np.testing.assert_allclose(np.diag(codes.T @ cost @ codes) / n, best, atol=1e-6)


def test_the_model_solves_that_problem(views):
    x, y = views
    settings = {"image_dim": 6, "text_dim": 4, "embed_dim": 8, "threshold": "mean", **SETTINGS}
    model = IMHModel(IMHConfig(**settings)).fit(x, y)
    mixing = solved(views, bits=8)
    signs = torch.sign((model.pair_weight * mixing).sum(dim=0))
    torch.testing.assert_close(model.pair_weight.double() * signs, mixing, rtol=1e-4, atol=1e-4)


def test_hash_functions_agree_with_scikit_learn(views):
    x, both = views[0], torch.cat(views, dim=1)
    theirs = Ridge(alpha=0.2 * x.square().mean().item() * len(x), fit_intercept=False).fit(x.numpy(), both.numpy())
    ours = ridge_regression(both.T @ both / len(both), slice(None, 6), 0.2)
    np.testing.assert_allclose(ours.numpy(), theirs.coef_.T, atol=1e-10)


def test_a_direction_without_variance_comes_last(views):
    x, y = views
    x = torch.cat([x, torch.zeros(len(x), 2, dtype=x.dtype)], dim=1)
    codes = torch.cat([x, y], dim=1) @ solved([x, y], bits=12)
    assert codes.square().mean(dim=0)[:10].min() > 0.99
    assert codes.square().mean(dim=0)[10:].max() < 1e-6


@pytest.mark.parametrize("threshold", ["median", "mean"])
def test_bits_are_cut_at_the_threshold(views, threshold):
    x, y = (view.float() + 4 for view in views)
    model = IMHModel(IMHConfig(image_dim=6, text_dim=4, embed_dim=8, threshold=threshold)).fit(x, y)
    for values in (model.get_image_features(x), model.get_text_features(y), model.get_pair_features(x, y)):
        middle = values.median(dim=0).values if threshold == "median" else values.mean(dim=0)
        assert middle.abs().max() < 1e-4


def test_pairs_share_bits(views):
    x, y = (view.float() for view in views)
    model = IMHModel(IMHConfig(image_dim=6, text_dim=4, embed_dim=8)).fit(x, y)
    image, text = model.get_image_features(x) > 0, model.get_text_features(y) > 0
    pair = model.get_pair_features(x, y) > 0
    assert (image == text).float().mean(dim=0)[:3].min() > 0.6
    assert min((codes == pair).float().mean() for codes in (image, text)) > (image == text).float().mean()


def test_pairs_before_fitting_are_refused():
    with pytest.raises(NotFittedError, match="call fit"):
        IMHModel(IMHConfig(image_dim=6, text_dim=4, embed_dim=8)).get_pair_features(
            torch.zeros(1, 6), torch.zeros(1, 4)
        )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"embed_dim": 24}, r"at most image_dim \+ text_dim = 10 bits; embed_dim is 24"),
        ({"neighbors": 0}, "neighbors must be at least 1, and is 0"),
        ({"intra_media": -1.0}, "intra_media must be at least 0, and is -1.0"),
        ({"regularization": 0.0}, "regularization must be above 0, and is 0.0"),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(Exception, match=message):
        IMHConfig(**{"image_dim": 6, "text_dim": 4, "embed_dim": 8, **setting})
