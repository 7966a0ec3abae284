"""KLSH against random hyperplanes in a space that is written out."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from closeness import assert_alike
from cmr_hub.errors import InputError
from cmr_hub.methods.klsh import KLSHConfig, KLSHModel
from cmr_hub.methods.klsh.modeling_klsh import centred, hash_weights, squared_distances

DIMS = {"image_dim": 6, "text_dim": 5}


def pairs(count=100):
    torch.manual_seed(0)
    shared = torch.randn(count, 4)
    return tuple(shared @ torch.randn(4, dim) + 0.3 * torch.randn(count, dim) for dim in DIMS.values())


def fitted(seed=0, **settings):
    image, text = pairs()
    torch.manual_seed(seed)
    config = KLSHConfig(**DIMS, **{"embed_dim": 16, "anchors": 40, "sampled": 7, **settings})
    return KLSHModel(config).fit(image, text), image, text


def test_squared_distances_are_those_of_a_loop():
    x, y = torch.randn(5, 3), torch.randn(4, 3)
    slow = [[sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) for b in y.tolist()] for a in x.tolist()]
    np.testing.assert_allclose(squared_distances(x, y), slow, rtol=1e-4)


def test_centring_is_that_of_the_points_in_a_space_that_is_known():
    points = torch.randn(9, 4, dtype=torch.float64) + 3
    moved = points - points.mean(0)
    torch.testing.assert_close(centred(points @ points.T), moved @ moved.T)


def test_hash_functions_are_whitened_means_of_the_sampled_anchors():
    """With the linear kernel everything in the kernel's space can be written out."""
    torch.manual_seed(0)
    points = torch.randn(30, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64)
    points = (points - points.mean(0)).numpy()
    members = np.array([[0, 3, 7, 9, 20], [1, 2, 3, 4, 29]])
    values, vectors = np.linalg.eigh(np.cov(points.T, bias=True))
    whitening = vectors / np.sqrt(values) @ vectors.T
    kernel = torch.from_numpy(points @ points.T)
    weights = hash_weights(kernel, torch.from_numpy(members)).numpy()
    new = np.random.default_rng(0).normal(size=(6, 4))
    for column, rows in zip(weights.T, members, strict=True):
        direction = whitening @ (np.sqrt(len(rows)) * points[rows].mean(0))
        np.testing.assert_allclose(new @ points.T @ column, new @ direction, atol=1e-9)


def test_hash_values_are_those_of_the_full_centred_kernel():
    """A point, its kernel values with all anchors centred one by one, and a weight an anchor."""
    model, image, text = fitted(bandwidth=0.1)
    anchors, precision = model.anchors.double().numpy(), model.precision.item()

    def kernel(a, b):
        return np.exp(-precision * ((a - b) ** 2).sum())

    full = np.array([[kernel(a, b) for b in anchors] for a in anchors])
    count = len(anchors)
    centring = np.eye(count) - np.ones((count, count)) / count
    values, vectors = np.linalg.eigh(centring @ full @ centring)
    kept = values > 1e-6 * values[-1]
    assert kept.sum() == count - 1
    inverse_root = vectors[:, kept] @ np.diag(values[kept] ** -0.5) @ vectors[:, kept].T
    # Which anchors a function was made of: K^(1/2) takes the weights back to their indicator, but for a constant.
    root = vectors[:, kept] @ np.diag(values[kept] ** 0.5) @ vectors[:, kept].T
    indicator = root @ model.weights.double().numpy() / np.sqrt(count / 7)
    members = np.sort(np.argsort(-indicator, axis=0)[:7], axis=0).T
    for modality in ("image", "text"):
        features = {"image": image, "text": text}[modality][:12]
        variates = getattr(model, f"{modality}_variates")(features).double()
        points = (variates / variates.norm(dim=1, keepdim=True) - model.centre).numpy()
        ours = getattr(model, f"get_{modality}_features")(features).numpy()
        for row, point in enumerate(points):
            seen = np.array([kernel(point, a) for a in anchors])
            seen = seen - seen.mean() - full.mean(axis=0) + full.mean()
            slow = [np.sqrt(count / 7) * seen @ inverse_root[:, rows].sum(axis=1) for rows in members]
            np.testing.assert_allclose(ours[row], slow, atol=2e-3)


def test_repeated_anchors_do_no_harm():
    image, text = (features[torch.arange(100) % 5] for features in pairs())
    model = KLSHModel(KLSHConfig(**DIMS, embed_dim=16, anchors=40, sampled=7)).fit(image, text)
    assert torch.isfinite(model.get_image_features(image)).all()


@pytest.mark.parametrize("bits", [8, 64, 256])
def test_any_length_from_a_narrow_space(bits):
    model, image, text = fitted(embed_dim=bits, common_dim=3)
    assert model.get_image_features(image).shape == (100, bits)
    assert torch.isfinite(model.get_text_features(text)).all()


def test_pairs_get_like_codes():
    model, image, text = fitted(embed_dim=64)
    own = (model.get_image_features(image) > 0) == (model.get_text_features(text) > 0)
    other = (model.get_image_features(image) > 0) == (model.get_text_features(text.roll(1, 0)) > 0)
    assert own.float().mean() > other.float().mean() + 0.15


def test_chance_is_the_seed():
    (first, *_), (again, *_), (other, *_) = fitted(0), fitted(0), fitted(1)
    assert_alike(first.weights, again.weights)
    assert not torch.allclose(first.weights, other.weights)


def test_more_anchors_than_points():
    with pytest.raises(InputError, match=r"201 anchors .* there are 200 of them"):
        fitted(anchors=201)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"anchors": 20, "sampled": 20}, "sampled must be from 1 to 19, and is 20"),
        ({"sampled": 0}, "sampled must be from 1 to 299, and is 0"),
        ({"bandwidth": 0.0}, "bandwidth must be above 0, and is 0.0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        KLSHConfig(**DIMS, **settings)
