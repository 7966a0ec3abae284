"""Semantic correlation matching against its two steps one after the other, with other libraries' solvers."""

import numpy as np
import pytest
import scipy.linalg
import torch
from huggingface_hub.errors import StrictDataclassError
from sklearn.linear_model import LogisticRegression

from cmr_hub import SCMSemanticConfig, SCMSemanticModel

N, CLASSES, COMPONENTS, RIDGE, REGULARIZATION = 150, 3, 2, 0.05, 0.02


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    classes = np.arange(N) % CLASSES
    centres = rng.normal(size=(CLASSES, 3))
    shared = centres[classes] + 0.5 * rng.normal(size=(N, 3))
    image = shared @ rng.normal(size=(3, 6)) + 0.3 * rng.normal(size=(N, 6))
    text = shared @ rng.normal(size=(3, 4)) + 0.3 * rng.normal(size=(N, 4))
    return image, text, classes


def canonical_directions(x, y):
    """Directions of x by the generalised eigenproblem Cxy Cyy^-1 Cyx w = rho^2 Cxx w, of unit variance."""
    cxx, cyy, cxy = x.T @ x / N, y.T @ y / N, x.T @ y / N
    cxx += RIDGE * np.trace(cxx) / len(cxx) * np.eye(len(cxx))
    cyy += RIDGE * np.trace(cyy) / len(cyy) * np.eye(len(cyy))
    _, directions = scipy.linalg.eigh(cxy @ np.linalg.solve(cyy, cxy.T), cxx)
    return directions[:, ::-1][:, :COMPONENTS]


def test_posteriors_are_those_of_the_two_steps(pairs):
    image, text, classes = pairs
    config = SCMSemanticConfig(
        image_dim=6,
        text_dim=4,
        num_labels=CLASSES,
        components=COMPONENTS,
        correlation_regularization=RIDGE,
        regularization=REGULARIZATION,
    )
    model = SCMSemanticModel(config).double()
    model.fit(torch.from_numpy(image), torch.from_numpy(text), torch.eye(CLASSES)[torch.from_numpy(classes)])
    x, y = image - image.mean(0), text - text.mean(0)
    for a, b, ours in (
        (x, y, model.get_image_features(torch.from_numpy(image))),
        (y, x, model.get_text_features(torch.from_numpy(text))),
    ):
        variates = a @ canonical_directions(a, b)
        # The penalty of the one is a share of the mean variance, that of the other is per item and absolute.
        theirs = LogisticRegression(C=1 / (N * REGULARIZATION * variates.var(0).mean()), tol=1e-10, max_iter=10_000)
        np.testing.assert_allclose(ours.numpy(), theirs.fit(variates, classes).predict_proba(variates), atol=1e-5)


def test_all_components_by_default_and_no_more():
    assert SCMSemanticConfig(image_dim=6, text_dim=4).components == 4
    with pytest.raises(StrictDataclassError, match=r"min\(image_dim, text_dim\) = 4 canonical pairs at most"):
        SCMSemanticConfig(image_dim=6, text_dim=4, components=5)


def test_regularization_is_needed():
    with pytest.raises(StrictDataclassError, match="correlation_regularization must be above 0"):
        SCMSemanticConfig(correlation_regularization=0.0)
