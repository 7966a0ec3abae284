"""Spectral hashing against the formulas of its eigenfunctions, written out."""

import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub.errors import NotFittedError
from cmr_hub.methods.sh import SHConfig, SHModel
from cmr_hub.methods.sh.modeling_sh import slowest_modes

DIMS = {"image_dim": 6, "text_dim": 5}


def pairs(count=200):
    torch.manual_seed(0)
    shared = torch.randn(count, 4)
    image, text = (shared @ torch.randn(4, dim) + 0.3 * torch.randn(count, dim) for dim in DIMS.values())
    return image + 2, text


def fitted(**settings):
    image, text = pairs()
    return SHModel(SHConfig(**DIMS, **{"embed_dim": 16, **settings})).fit(image, text), image, text


@pytest.mark.parametrize("epsilon", [0.1, 1.0])
def test_the_slowest_modes_are_those_of_the_smallest_eigenvalues(epsilon):
    widths = [1.0, 0.3, 2.6, 1.7]
    eigenvalues = {
        (side, k): 1 - math.exp(-(epsilon**2) / 2 * (k * math.pi / width) ** 2)
        for side, width in enumerate(widths)
        for k in range(1, 13)
    }
    expected = sorted(eigenvalues, key=eigenvalues.get)[:12]
    sides, frequencies = slowest_modes(torch.tensor(widths, dtype=torch.float64), 12)
    assert sides.tolist() == [side for side, _ in expected]
    np.testing.assert_allclose(frequencies, [k * math.pi / widths[side] for side, k in expected])


def test_the_waves_are_eigenfunctions_of_the_box():
    """f'' = -ω² f inside, and no slope at either end: what the Laplacian's eigenfunctions on an interval are."""
    width, step = 1.7, 1e-4
    _, frequencies = slowest_modes(torch.tensor([width], dtype=torch.float64), 5)
    for k, frequency in enumerate(frequencies.tolist(), start=1):

        def wave(x, frequency=frequency):
            return np.sin(np.pi / 2 + frequency * x)

        x = np.linspace(step, width - step, 1001)
        curvature = (wave(x + step) - 2 * wave(x) + wave(x - step)) / step**2
        np.testing.assert_allclose(curvature, -(frequency**2) * wave(x), atol=1e-4)
        assert abs(wave(step) - wave(0)) < 1e-6
        assert abs(wave(width) - wave(width - step)) < 1e-6
        assert np.count_nonzero(np.diff(np.sign(wave(x)))) == k


def test_a_side_without_extent_comes_last_and_stays_finite():
    sides, frequencies = slowest_modes(torch.tensor([0.0, 1.0], dtype=torch.float64), 8)
    assert sides.tolist() == [1] * 8
    assert torch.isfinite(slowest_modes(torch.zeros(2), 8)[1]).all()
    assert (frequencies.diff() > 0).all()


def test_codes_are_those_of_a_slow_loop():
    model, image, text = fitted()
    variates = torch.cat([model.image_variates(image), model.text_variates(text)]).double().numpy()
    points = variates / np.linalg.norm(variates, axis=1, keepdims=True)
    points -= points.mean(0)
    values, axes = np.linalg.eig(np.cov(points.T))
    axes = axes[:, np.argsort(-values)]
    coordinates = points @ axes
    modes = []
    for side in range(coordinates.shape[1]):
        low, high = coordinates[:, side].min(), coordinates[:, side].max()
        modes += [(k / (high - low), side, k, low, high) for k in range(1, 17)]
    modes = sorted(modes)[:16]
    ours = torch.cat([model.get_image_features(image), model.get_text_features(text)]).numpy()
    for bit, (_, side, k, low, high) in enumerate(modes):
        position = coordinates[:, side] - low
        # The other way along an axis a wave of odd k changes its sign, and one of even k does not.
        direct = np.sin(np.pi / 2 + k * np.pi / (high - low) * position)
        sign = np.sign(direct @ ours[:, bit])
        assert sign == 1 or k % 2
        np.testing.assert_allclose(ours[:, bit], sign * direct, atol=1e-3)


@pytest.mark.parametrize("bits", [8, 64, 256])
def test_any_length_from_a_narrow_space(bits):
    model, image, text = fitted(embed_dim=bits, common_dim=3)
    for values in (model.get_image_features(image), model.get_text_features(text)):
        assert values.shape == (200, bits)
        assert torch.isfinite(values).all()
        assert values.abs().max() <= 1


def test_pairs_get_like_codes():
    model, image, text = fitted()
    own = (model.get_image_features(image) > 0) == (model.get_text_features(text) > 0)
    other = (model.get_image_features(image) > 0) == (model.get_text_features(text.roll(1, 0)) > 0)
    assert own.float().mean() > other.float().mean() + 0.15


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"common_dim": 0}, "common_dim must be at least 1, and is 0"),
        ({"regularization": 0.0}, "regularization must be above 0, and is 0.0"),
        ({"embed_dim": 12}, "multiple of 8 bits"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        SHConfig(**DIMS, **settings)


def test_unfitted_is_refused():
    with pytest.raises(NotFittedError, match="call fit"):
        SHModel(SHConfig(**DIMS)).get_image_features(torch.zeros(1, 6))
