"""Pixels: the image itself, in a fixed order and range."""

import numpy as np
import pytest
import torch
from PIL import Image

from cmr_hub.encoders import backbone, load_encoder
from cmr_hub.encoders.pixels import PixelsEncoder
from cmr_hub.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)


def test_an_image_of_the_size_comes_out_pixel_by_pixel():
    flat = PixelsEncoder(size=6).encode(list(PIXELS))
    assert (flat.dtype, flat.shape) == (torch.float32, (5, 108))
    for item in range(5):
        for channel in range(3):
            for row in range(6):
                for column in range(6):
                    value = flat[item, channel * 36 + row * 6 + column].item()
                    assert value == pytest.approx(PIXELS[item, row, column, channel] / 255 * 2 - 1, abs=1e-6)


def test_the_whole_image_is_seen_whatever_its_shape():
    wide = Image.new("RGB", (60, 20), "white")
    wide.paste("black", (0, 0, 30, 20))
    values = PixelsEncoder(size=8).encode([wide]).reshape(3, 8, 8)
    assert (values[:, :, 0] == -1).all()
    assert (values[:, :, -1] == 1).all()


def test_the_default_is_what_cnn_f_takes():
    encoder = PixelsEncoder()
    assert encoder.dim == 3 * 224 * 224
    assert encoder.encode([Image.new("RGB", (300, 200))]).shape == (1, encoder.dim)
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_pixels_are_not_kept_on_disk():
    assert not PixelsEncoder.cacheable


def test_more_images_than_go_through_at_a_time_keep_their_order():
    many = [Image.new("RGB", (4, 4), (value, value, value)) for value in range(20)]
    grey = PixelsEncoder(size=2).encode(many)[:, 0]
    assert (grey.diff() > 0).all()


def test_a_bad_image_is_named_by_its_position(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"image 2 of 2: .*broken.jpg is not an image"):
        PixelsEncoder(size=4).encode([PIXELS[0], broken])


@pytest.mark.parametrize("size", [0, -3, 2.5, "224"])
def test_sizes_that_are_none(size):
    with pytest.raises(InputError, match="whole number from 1"):
        PixelsEncoder(size=size)


def test_round_trip():
    encoder = PixelsEncoder(size=5)
    again = load_encoder(encoder.to_dict())
    assert (again.size, again.dim, again.fingerprint) == (5, 75, encoder.fingerprint)
    assert again.fingerprint != PixelsEncoder(size=6).fingerprint
    assert torch.equal(again.encode(list(PIXELS)), encoder.encode(list(PIXELS)))


def test_large_images_do_not_wait_decoded_for_the_rest_of_their_batch(monkeypatch):
    encoder, most = PixelsEncoder(size=6), []
    whole = encoder.encode(list(PIXELS))
    preprocess = encoder._preprocess
    monkeypatch.setattr(encoder, "_preprocess", lambda images: most.append(len(images)) or preprocess(images))
    monkeypatch.setattr(backbone, "MAX_WAITING", 2 * 36)
    assert torch.equal(encoder.encode(list(PIXELS)), whole)
    assert most == [3, 2]


@pytest.mark.parametrize("size", [(501, 1), (1, 501)])
def test_a_thread_of_pixels_is_refused(size):
    encoder = PixelsEncoder(size=6)
    encoder.encode([Image.new("RGB", (500, 1))])
    with pytest.raises(InputError, match=r"image 1 of 1: it has .* at most 500 times as long"):
        encoder.encode([Image.new("RGB", size)])
