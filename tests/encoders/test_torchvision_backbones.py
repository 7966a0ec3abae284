"""torchvision's classification networks as encoders, with initial weights or a local file: nothing is downloaded."""

import json
import pickle
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from closeness import assert_alike
from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.errors import CheckpointError, DownloadError, InputError

IMAGES = [
    Image.fromarray(values) for values in np.random.default_rng(0).integers(0, 256, (3, 60, 80, 3), dtype=np.uint8)
]


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("alexnet", 4096),
        ("vgg16", 4096),
        ("vgg19", 4096),
        ("torchvision/resnet50", 2048),
        ("torchvision/resnet18", 512),
        ("torchvision/vit_b_16", 768),
        ("torchvision/mobilenet_v3_small", 1024),
        ("torchvision/regnet_y_400mf", 440),
    ],
)
def test_widths(name, dim):
    assert create_encoder("image", name, weights="random").dim == dim


def test_fc7_is_taken_after_its_relu():
    encoder = create_encoder("image", "alexnet", weights="random", seed=3)
    features = encoder.encode(IMAGES)
    torch.manual_seed(3)
    network = models.alexnet().eval()
    pixels = torch.stack([models.AlexNet_Weights.DEFAULT.transforms()(image) for image in IMAGES])
    with torch.no_grad():
        expected = network.classifier[:-1](network.avgpool(network.features(pixels)).flatten(1))
    torch.testing.assert_close(features, expected)
    assert features.min() == 0


@pytest.mark.parametrize(
    ("name", "layer", "node"),
    [("vgg19", None, "classifier.4"), ("vgg19", "fc6", "classifier.1"), ("alexnet", "fc6", "classifier.2")],
)
def test_fc6_and_fc7_are_the_nodes_of_torchvisions_graph(monkeypatch, name, layer, node):
    encoder = create_encoder("image", name, weights="random", layer=layer)
    with torch.device("meta"):
        whole = models.get_model(name).eval()
    whole.load_state_dict(encoder.network.state_dict(), strict=False, assign=True)
    features = encoder.encode(IMAGES[:1])
    with torch.no_grad():
        expected = create_feature_extractor(whole, {node: "wanted"})(encoder._preprocess(IMAGES[:1]))["wanted"]
    torch.testing.assert_close(features, expected)
    assert features.shape == (1, encoder.dim) == (1, 4096)
    assert features.min() == 0
    assert features.unique().numel() > 100


def test_the_layer_is_part_of_the_description():
    encoder = create_encoder("image", "alexnet", weights="random", layer="fc6")
    usual = create_encoder("image", "alexnet", weights="random")
    assert encoder.to_dict() == usual.to_dict() | {"layer": "fc6"}
    assert load_encoder(encoder.to_dict()).layer == "fc6"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("alexnet", {"layer": "fc9"}),
        ("torchvision/resnet18", {"layer": "fc6"}),
        ("vgg19", {"layer": "fc6", "grid": 7}),
    ],
)
def test_layers_that_there_are_not(name, options):
    with pytest.raises(InputError, match=f"gives no layer '{options['layer']}'"):
        create_encoder("image", name, weights="random", **options)


def test_random_weights_are_those_of_the_seed():
    state = torch.get_rng_state()
    first, again, other = (
        create_encoder("image", "torchvision/resnet18", weights="random", seed=seed).encode(IMAGES)
        for seed in (1, 1, 2)
    )
    assert_alike(first, again)
    assert not torch.allclose(first, other, atol=1e-3)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_short_name_means_the_long_one():
    short, long = (create_encoder("image", name, weights="random") for name in ("alexnet", "torchvision/alexnet"))
    assert short.fingerprint == long.fingerprint


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file_go_into_the_checkpoint(tmp_path, suffix):
    torch.manual_seed(5)
    network = models.resnet18()
    path = tmp_path / f"resnet18{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        safetensors.torch.save_file(network.state_dict(), path)
    encoder = create_encoder("image", "torchvision/resnet18", weights=path)
    features = encoder.encode(IMAGES)
    assert_alike(features, create_encoder("image", "torchvision/resnet18", weights="random", seed=5).encode(IMAGES))

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    encoder.save_files(folder)
    path.unlink()
    config = json.loads(json.dumps(encoder.to_dict()))
    again = load_encoder(config, folder)
    assert_alike(again.encode(IMAGES), features)
    assert again.to_dict() == config
    assert again.fingerprint == encoder.fingerprint
    (folder / "image_encoder.safetensors").unlink()
    with pytest.raises(CheckpointError, match="image_encoder"):
        load_encoder(config, folder)


def test_random_and_published_weights_are_described_not_saved(tmp_path):
    for weights, described in (("random", "random"), ("default", "IMAGENET1K_V2"), ("IMAGENET1K_V1", "IMAGENET1K_V1")):
        encoder = create_encoder("image", "torchvision/resnet50", weights=weights)
        encoder.save_files(tmp_path)
        assert encoder.to_dict()["weights"] == described
        assert load_encoder(encoder.to_dict(), tmp_path).fingerprint == encoder.fingerprint
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="not those of resnet18"):
        create_encoder("image", "torchvision/resnet18", weights=path).encode(IMAGES)


class Trap:
    def __reduce__(self):
        return print, ("a pickle ran",)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"state_dict": {"conv1.weight": torch.zeros(2)}}, 3])
def test_a_file_of_other_things_than_named_weights_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="other things than a network's weights"):
        create_encoder("image", "torchvision/resnet18", weights=path).encode(IMAGES)


def test_a_file_with_code_in_it_is_refused(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(CheckpointError, match="not a file of weights"):
        create_encoder("image", "torchvision/resnet18", weights=path).encode(IMAGES)
    assert "a pickle ran" not in capsys.readouterr().out


def test_offline_it_says_what_to_fetch_and_where_to_put_it(monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", offline, raising=False)
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DownloadError, match=r"https://download.pytorch.org/models/resnet18-\w+.pth.*checkpoints"):
        create_encoder("image", "torchvision/resnet18").encode(IMAGES)


def test_unknown_weights():
    with pytest.raises(InputError, match=r"no weights 'imagenet'.*IMAGENET1K_V1"):
        create_encoder("image", "torchvision/resnet18", weights="imagenet")


def test_a_network_without_a_last_linear_layer():
    with pytest.raises(InputError, match="linear layer"):
        create_encoder("image", "torchvision/squeezenet1_0", weights="random").encode(IMAGES)


def test_regions():
    encoder = create_encoder("image", "torchvision/resnet18", weights="random", grid=7)
    assert (encoder.dim, encoder.input_name, encoder.mapped) == (512, "region_features", True)
    features = encoder.encode(IMAGES)
    assert features.dtype == torch.float32
    assert features.shape == (3, 49, 512)
    torch.testing.assert_close(encoder.encode(IMAGES[2:])[0], features[2])
    assert encoder.encode([]).shape == (0, 49, 512)


def test_the_mean_of_the_regions_is_the_pooled_vector_of_the_same_pixels():
    regions = create_encoder("image", "torchvision/resnet18", weights="random", seed=4, grid=7)
    pooled = create_encoder("image", "torchvision/resnet18", weights="random", seed=4)
    image = IMAGES[0].resize((256, 256), Image.Resampling.BICUBIC)  # as large as the transforms make it
    seen = image.crop((16, 16, 240, 240))
    torch.testing.assert_close(regions.encode([seen]).mean(dim=1), pooled.encode([image]))


@pytest.mark.parametrize(("row", "column"), [(0, 6), (2, 5), (6, 0)])
def test_regions_stand_row_by_row_from_the_top_left_over_the_whole_image(row, column):
    encoder = create_encoder("image", "torchvision/resnet18", weights="random", grid=7)
    plain = np.full((224, 448, 3), 128, np.uint8)
    marked = plain.copy()
    marked[32 * row : 32 * (row + 1), 64 * column : 64 * (column + 1)] = [255, 0, 0]
    before, after = encoder.encode([Image.fromarray(plain), Image.fromarray(marked)])
    strongest = divmod(int((after - before).norm(dim=1).argmax()), 7)
    # A region also sees its neighbours' pixels, some more than its own.
    np.testing.assert_allclose(strongest, (row, column), atol=1)


def test_alexnet_is_given_images_whose_map_fits():
    encoder = create_encoder("image", "alexnet", weights="random", grid=7)
    assert encoder.encode(IMAGES).shape == (3, 49, 256)


def test_the_pixels_are_normalised_as_the_network_wants():
    encoder = create_encoder("image", "vgg19", weights="random", grid=1)
    (pixels,) = encoder._preprocess([Image.new("RGB", (50, 20), (255, 0, 51))])
    expected = (torch.tensor([1, 0, 0.2]) - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(pixels, expected.view(3, 1, 1).expand(3, 32, 32))


def test_a_grid_from_a_file_of_weights_goes_into_the_checkpoint_without_the_classifier(tmp_path):
    torch.manual_seed(5)
    path = tmp_path / "alexnet.safetensors"
    safetensors.torch.save_file(models.alexnet().state_dict(), path)
    encoder = create_encoder("image", "alexnet", weights=path, grid=3)
    features = encoder.encode(IMAGES)
    assert_alike(features, create_encoder("image", "alexnet", weights="random", seed=5, grid=3).encode(IMAGES))

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    encoder.save_files(folder)
    path.unlink()
    saved = safetensors.torch.load_file(folder / "image_encoder.safetensors")
    assert {name.split(".")[0] for name in saved} == {"features"}
    config = json.loads(json.dumps(encoder.to_dict()))
    again = load_encoder(config, folder)
    assert_alike(again.encode(IMAGES), features)
    assert again.to_dict() == config
    assert again.fingerprint == encoder.fingerprint


def test_a_grid_of_published_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(5)
    path = tmp_path / "hub" / "checkpoints" / models.ResNet18_Weights.DEFAULT.url.split("/")[-1]
    path.parent.mkdir(parents=True)
    torch.save(models.resnet18().state_dict(), path)
    published, random = (
        create_encoder("image", "torchvision/resnet18", weights=weights, seed=5, grid=2)
        for weights in ("default", "random")
    )
    assert_alike(published.encode(IMAGES), random.encode(IMAGES))
    assert published.to_dict()["weights"] == "IMAGENET1K_V1"


def test_a_grid_is_part_of_the_description_and_none_is_not():
    with_grid, without = (
        create_encoder("image", "torchvision/resnet50", weights="random", grid=grid) for grid in (7, None)
    )
    assert without.to_dict() == {
        "name": "torchvision/resnet50",
        "modality": "image",
        "weights": "random",
        "seed": 0,
    }
    assert with_grid.to_dict() == without.to_dict() | {"grid": 7}
    assert load_encoder(with_grid.to_dict()).grid == 7
    with pytest.raises(InputError, match="grid must be a whole number"):
        create_encoder("image", "alexnet", weights="random", grid=0)


def test_tuned_weights_keep_the_transforms_that_they_were_tuned_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "cmr_hub.encoders.torchvision_backbones.TorchvisionEncoder._download", lambda self: models.resnet50()
    )
    encoder = create_encoder("image", "torchvision/resnet50", weights="IMAGENET1K_V1")
    before = encoder.fingerprint
    with torch.no_grad():
        encoder.network.conv1.weight.mul_(2)
    encoder.keep_weights()
    assert encoder.fingerprint != before
    encoder.save_files(tmp_path)
    again = load_encoder(json.loads(json.dumps(encoder.to_dict())), tmp_path)
    assert again.to_dict() == encoder.to_dict()
    assert again.fingerprint == encoder.fingerprint
    assert again._transforms.resize_size == [256]  # of IMAGENET1K_V2, the default, it is 232
    assert_alike(again.encode(IMAGES[:1]), encoder.encode(IMAGES[:1]))
    with pytest.raises(InputError, match="resnet50 has no published weights 'V9' to take transforms of"):
        create_encoder("image", "torchvision/resnet50", weights="random", transforms="V9")
