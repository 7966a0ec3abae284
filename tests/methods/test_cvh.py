"""CVH: its eigenvectors against a generalised eigen-solver on the full problem."""

import numpy as np
import pytest
import scipy.linalg
import torch

from cmr_hub import CVHConfig, CVHModel
from cmr_hub.methods.cvh.modeling_cvh import cross_view_eigenvectors
from cmr_hub.modeling.codes import pack

RIDGE = 1e-2


def views(x_dim, y_dim):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(300, 5))
    x = shared @ rng.normal(size=(5, x_dim)) + rng.normal(size=(300, x_dim))
    y = shared @ rng.normal(size=(5, y_dim)) + rng.normal(size=(300, y_dim))
    return x - x.mean(0), y - y.mean(0)


def full_problem(x, y):
    """Both matrices of [0 Cxy; Cyx 0] w = lambda [Cxx 0; 0 Cyy] w, as it is written."""
    cxx, cyy = (data.T @ data / len(data) for data in (x, y))
    cxx += RIDGE * np.trace(cxx) / len(cxx) * np.eye(len(cxx))
    cyy += RIDGE * np.trace(cyy) / len(cyy) * np.eye(len(cyy))
    cxy = x.T @ y / len(x)
    zeros = [np.zeros((len(c), len(c))) for c in (cxx, cyy)]
    return np.block([[zeros[0], cxy], [cxy.T, zeros[1]]]), scipy.linalg.block_diag(cxx, cyy)


@pytest.mark.parametrize(("x_dim", "y_dim"), [(9, 4), (4, 9), (6, 6)])
def test_eigenvectors_solve_the_full_generalised_problem(x_dim, y_dim):
    x, y = views(x_dim, y_dim)
    left, right = full_problem(x, y)
    values, vectors = scipy.linalg.eigh(left, right)
    both, count = (torch.from_numpy(x), torch.from_numpy(y)), x_dim + y_dim
    a, b, found = (t.numpy() for t in cross_view_eigenvectors(*both, count, RIDGE))
    np.testing.assert_allclose(found, values[::-1], atol=1e-10)
    w = np.concatenate([a, b])
    np.testing.assert_allclose(left @ w, right @ w * found, atol=1e-9)
    # All of them: no eigenvector is a mixture of others.
    assert np.linalg.matrix_rank(w) == x_dim + y_dim
    # Fewer are the first of them.
    for fewer in (3, min(x_dim, y_dim) + 1):
        for some, everything in zip(cross_view_eigenvectors(*both, fewer, RIDGE), (a, b, found), strict=True):
            np.testing.assert_allclose(some, everything[..., :fewer], atol=1e-12)
    # Where the eigenvalue stands alone, so does the eigenvector, up to its length and sign.
    for column in range(min(x_dim, y_dim)):
        likeness = w[:, column] @ right @ vectors[:, -1 - column] / np.sqrt(w[:, column] @ right @ w[:, column])
        assert abs(likeness) == pytest.approx(1, abs=1e-8)


def test_codes_are_signs_of_centred_projections():
    x, y = (torch.from_numpy(view) + 3 for view in views(9, 7))
    model = CVHModel(CVHConfig(image_dim=9, text_dim=7, embed_dim=16)).fit(x, y)
    image, text = model.get_image_features(x.float()), model.get_text_features(y.float())
    assert max(values.mean(0).abs().max() for values in (image, text)) < 1e-4
    bits = [np.unpackbits(pack(values), axis=1) for values in (image, text)]
    agreement = (bits[0] == bits[1]).mean(axis=0)
    assert agreement[0] > 0.8
    # Seven pairs of directions correlate, two are the image's alone, and the last seven are the first, turned round.
    np.testing.assert_allclose(agreement[:8:-1], 1 - agreement[:7])
    assert (text[:, 7:9] == 0).all()


def test_no_more_bits_than_eigenvectors():
    with pytest.raises(Exception, match=r"image_dim \+ text_dim = 21 eigenvectors, one a bit; embed_dim is 24"):
        CVHConfig(image_dim=12, text_dim=9, embed_dim=24)


def test_the_ridge_is_positive():
    with pytest.raises(Exception, match="regularization must be above 0"):
        CVHConfig(image_dim=12, text_dim=9, embed_dim=8, regularization=0.0)
