"""Closed forms against independent solvers."""

import numpy as np
import pytest
import scipy.linalg
import torch

from cmr_hub.solvers import canonical_pairs


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
