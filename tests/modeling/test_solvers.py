"""Closed forms against independent solvers."""

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.linear_model import LogisticRegression

from cmr_hub.modeling.solvers import canonical_pairs, logistic_regressions, principal_axes, softmax_regression


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


def test_principal_axes_agree_with_scikit_learn(views):
    x, _ = views
    decomposition = pytest.importorskip("sklearn.decomposition")
    theirs = decomposition.PCA().fit(x)
    variances, axes = principal_axes(torch.from_numpy(x))
    np.testing.assert_allclose(variances, theirs.explained_variance_ * 199 / 200)
    np.testing.assert_allclose(np.abs(np.diag(axes.numpy().T @ theirs.components_.T)), 1)


@pytest.fixture
def classes():
    rng = np.random.default_rng(1)
    labels = np.arange(120) % 4
    return 5 * (rng.normal(size=(4, 3))[labels] + rng.normal(size=(120, 3))) + 2, labels


def test_softmax_regression_agrees_with_scikit_learn(classes):
    x, labels = classes
    strength = 0.03 * x.var(0).mean()  # scikit-learn's penalty is absolute, and its loss a sum
    theirs = LogisticRegression(C=1 / (120 * strength), tol=1e-10, max_iter=10_000).fit(x, labels)
    weight, bias = softmax_regression(torch.from_numpy(x), torch.eye(4, dtype=torch.float64)[labels], 0.03)
    np.testing.assert_allclose(weight.numpy(), theirs.coef_.T, atol=1e-5)
    posteriors = (torch.from_numpy(x) @ weight + bias).softmax(dim=1)
    np.testing.assert_allclose(posteriors.numpy(), theirs.predict_proba(x), atol=1e-6)


def test_softmax_regression_shares_an_item_among_its_classes(classes):
    x, labels = classes
    targets = torch.eye(4, dtype=torch.float64)[labels]
    targets[::5, 0] = 1
    # An item of two classes is two items of half a weight each.
    rows, columns = targets.nonzero(as_tuple=True)
    share = 1 / targets.sum(1)[rows]
    weight, _ = softmax_regression(torch.from_numpy(x), targets, 0.03)
    theirs = LogisticRegression(C=1 / (120 * 0.03 * x.var(0).mean()), tol=1e-10, max_iter=10_000)
    theirs.fit(x[rows], columns, sample_weight=share)
    np.testing.assert_allclose(weight.numpy(), theirs.coef_.T, atol=1e-5)


def test_softmax_regression_leaves_out_items_without_a_class(classes):
    x, labels = (torch.from_numpy(part) for part in classes)
    targets = torch.eye(4, dtype=torch.float64)[labels]
    targets[100:] = 0
    with_rest, without = softmax_regression(x, targets, 0.03), softmax_regression(x[:100], targets[:100], 0.03)
    for ours, expected in zip(with_rest, without, strict=True):
        torch.testing.assert_close(ours, expected)


def test_softmax_regression_knows_nothing_of_a_class_without_items(classes):
    x, labels = (torch.from_numpy(part) for part in classes)
    targets = torch.eye(5, dtype=torch.float64)[labels]
    weight, bias = softmax_regression(x, targets, 0.03)
    assert torch.isfinite(weight).all()
    assert (x @ weight + bias).softmax(dim=1)[:, 4].max() < 1e-3


def test_logistic_regressions_agree_with_scikit_learn_one_by_one(classes):
    x, labels = classes
    targets = torch.eye(4, dtype=torch.float64)[labels]
    strength = 0.03 * x.var(0).mean()
    weight, bias = logistic_regressions(torch.from_numpy(x), targets, 0.03)
    for column in range(4):
        theirs = LogisticRegression(C=1 / (120 * strength), tol=1e-10, max_iter=10_000).fit(x, labels == column)
        np.testing.assert_allclose(weight[:, column].numpy(), theirs.coef_[0], atol=1e-5)
        np.testing.assert_allclose(bias[column].item(), theirs.intercept_[0], atol=1e-4)


def test_logistic_regressions_of_float32_are_close_to_those_of_float64(classes):
    x, labels = classes
    x, targets = torch.from_numpy(x), torch.eye(4, dtype=torch.float64)[labels]
    for single, double in zip(
        logistic_regressions(x.float(), targets.float(), 1e-3), logistic_regressions(x, targets, 1e-3), strict=True
    ):
        torch.testing.assert_close(single.double(), double, rtol=1e-2, atol=1e-3)


def test_a_regression_on_constant_features_has_the_share_of_its_target():
    targets = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    weight, bias = logistic_regressions(torch.ones(4, 2), targets, 0.1)
    assert weight.tolist() == [[0.0], [0.0]]
    assert bias.sigmoid().item() == pytest.approx(0.25, abs=1e-4)
