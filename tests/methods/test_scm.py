"""SCM's hyperplanes against solvers that form the similarity of all pairs."""

import numpy as np
import pytest
import scipy.linalg
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub.methods.scm import SCMConfig, SCMModel
from cmr_hub.methods.scm.modeling_scm import (
    leading_pairs,
    orthogonal_projections,
    sequential_projections,
    similarity_factors,
)

N, CLASSES, RIDGE = 60, 4, 1e-2


@pytest.fixture
def pairs():
    """Centred views and multi-hot labels; some items are of two classes, one of none."""
    rng = np.random.default_rng(0)
    labels = np.eye(CLASSES)[np.arange(N) % CLASSES]
    labels[::7, 2] = 1
    labels[5] = 0
    x = labels @ rng.normal(size=(CLASSES, 9)) + rng.normal(size=(N, 9))
    y = labels @ rng.normal(size=(CLASSES, 8)) + rng.normal(size=(N, 8))
    return x - x.mean(0), y - y.mean(0), labels


def all_similarities(labels):
    """Cosine of the label vectors, moved from [0, 1] to [-1, 1], pair by pair."""
    similar = np.full((N, N), -1.0)
    for i in range(N):
        for j in range(N):
            norms = np.linalg.norm(labels[i]) * np.linalg.norm(labels[j])
            if norms:
                similar[i, j] = 2 * labels[i] @ labels[j] / norms - 1
    return similar


def covariance(x):
    c = x.T @ x / N
    return c + RIDGE * np.trace(c) / len(c) * np.eye(len(c))


def best_pair(x, y, similar):
    """The w and v of the largest tr(w^T X^T S Y v), by one generalised eigenproblem without any whitening."""
    cross = x.T @ similar @ y
    zeros_x, zeros_y = np.zeros((9, 9)), np.zeros((8, 8))
    values, vectors = scipy.linalg.eigh(
        np.block([[zeros_x, cross], [cross.T, zeros_y]]), scipy.linalg.block_diag(covariance(x), covariance(y))
    )
    return values[::-1], vectors[:9, ::-1], vectors[9:, ::-1]


def torch_pairs(pairs):
    return [torch.from_numpy(part) for part in pairs]


def test_the_factors_are_those_of_the_similarity(pairs):
    g, h = similarity_factors(torch.from_numpy(pairs[2]))
    assert g.shape == h.shape == (N, CLASSES + 1)
    np.testing.assert_allclose(g @ h.T, all_similarities(pairs[2]), atol=1e-12)


@pytest.mark.parametrize("rank", [3, 20])
def test_leading_pairs_are_singular_vectors(rank):
    torch.manual_seed(0)
    left, right = torch.randn(12, rank).double(), torch.randn(10, rank).double()
    u, v = leading_pairs(left, right, 5)
    singular = np.linalg.svd(left @ right.T, compute_uv=False)[:5]
    np.testing.assert_allclose(u.T @ (left @ right.T) @ v, np.diag(singular), atol=1e-8)
    np.testing.assert_allclose(u.T @ u, np.eye(5), atol=1e-10)


def test_orthogonal_solves_the_generalised_eigenproblem(pairs):
    x, y, labels = pairs
    w, v = orthogonal_projections(*torch_pairs(pairs), bits=8, regularization=RIDGE)
    values, theirs_w, theirs_v = best_pair(x, y, all_similarities(labels))
    w, v = w.numpy(), v.numpy()
    np.testing.assert_allclose(w.T @ covariance(x) @ w, np.eye(8), atol=1e-8)
    np.testing.assert_allclose(v.T @ covariance(y) @ v, np.eye(8), atol=1e-8)
    # The labels give as many directions that mean anything as there are classes.
    ours = w.T @ x.T @ all_similarities(labels) @ y @ v
    np.testing.assert_allclose(ours, np.diag(values[:8].clip(min=0)), atol=1e-6)
    for mine, theirs in ((w, theirs_w), (v, theirs_v)):
        cosines = [abs(np.corrcoef(mine[:, i], theirs[:, i])[0, 1]) for i in range(CLASSES)]
        np.testing.assert_allclose(cosines, 1, atol=1e-6)


def test_sequential_is_the_loop_over_the_residue_of_all_pairs(pairs):
    x, y, labels = pairs
    bits = 16
    w, v = sequential_projections(*torch_pairs(pairs), bits=bits, regularization=RIDGE)
    residue = bits * all_similarities(labels)
    for t in range(bits):
        _, theirs_w, theirs_v = best_pair(x, y, residue)
        signs_x, signs_y = np.sign(x @ theirs_w[:, 0]), np.sign(y @ theirs_v[:, 0])
        # An eigenvector and its opposite, on both sides, give the same product.
        flip = np.sign(signs_x @ np.sign(x @ w[:, t].numpy()))
        np.testing.assert_array_equal(np.sign(x @ w[:, t].numpy()) * flip, signs_x)
        np.testing.assert_array_equal(np.sign(y @ v[:, t].numpy()) * flip, signs_y)
        residue -= np.outer(signs_x, signs_y)


@pytest.mark.parametrize("variant", ["sequential", "orthogonal"])
def test_a_constant_feature_and_an_absent_class_do_no_harm(pairs, variant):
    x, y, labels = (part.float() for part in torch_pairs(pairs))
    x, labels = x.clone(), torch.cat([labels, torch.zeros(N, 1)], dim=1)
    x[:, 2] = 7.0
    config = SCMConfig(image_dim=9, text_dim=8, embed_dim=8, num_labels=CLASSES + 1, variant=variant)
    model = SCMModel(config).fit(x, y, labels)
    embeds = model.get_image_features(x)
    assert embeds.shape == (N, 8)
    assert torch.isfinite(embeds).all()
    assert embeds.mean(0).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "orthogonal", "embed_dim": 16}, r"at most min\(image_dim, text_dim\) = 8 bits; embed_dim is 16"),
        ({"regularization": 0.0}, "regularization must be above 0, and is 0.0"),
        ({"variant": "kernel"}, "variant"),
        ({"embed_dim": 12}, "The nearest is"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        SCMConfig(**{"image_dim": 9, "text_dim": 8, "embed_dim": 8, **settings})
