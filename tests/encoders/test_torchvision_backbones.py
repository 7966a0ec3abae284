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

from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.errors import CheckpointError, DownloadError, InputError

PICTURES = [
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
    ],
)
def test_widths(name, dim):
    assert create_encoder("image", name, weights="random").dim == dim


def test_fc7_is_taken_after_its_relu():
    encoder = create_encoder("image", "alexnet", weights="random", seed=3)
    features = encoder.encode(PICTURES)
    torch.manual_seed(3)
    network = models.alexnet().eval()
    pixels = torch.stack([models.AlexNet_Weights.DEFAULT.transforms()(image) for image in PICTURES])
    with torch.no_grad():
        expected = network.classifier[:-1](network.avgpool(network.features(pixels)).flatten(1))
    torch.testing.assert_close(features, expected)
    assert features.min() == 0


def test_vgg19_ends_in_fc7():
    with torch.device("meta"):
        expected = models.vgg19().classifier[:-1]
    encoder = create_encoder("image", "vgg19", weights="random")
    with torch.device("meta"):
        network = encoder._build_network()
    assert [str(layer) for layer in network.classifier[:-1]] == [str(layer) for layer in expected]
    assert isinstance(network.classifier[-1], torch.nn.Identity)


def test_random_weights_are_those_of_the_seed():
    state = torch.get_rng_state()
    first, again, other = (
        create_encoder("image", "torchvision/resnet18", weights="random", seed=seed).encode(PICTURES)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
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
    features = encoder.encode(PICTURES)
    assert torch.equal(
        features, create_encoder("image", "torchvision/resnet18", weights="random", seed=5).encode(PICTURES)
    )

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    encoder.save_files(folder)
    path.unlink()
    config = json.loads(json.dumps(encoder.to_dict()))
    again = load_encoder(config, folder)
    assert torch.equal(again.encode(PICTURES), features)
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
        create_encoder("image", "torchvision/resnet18", weights=path).encode(PICTURES)


class Trap:
    def __reduce__(self):
        return print, ("a pickle ran",)


def test_a_file_with_code_in_it_is_refused(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(CheckpointError, match="not a file of weights"):
        create_encoder("image", "torchvision/resnet18", weights=path).encode(PICTURES)
    assert "a pickle ran" not in capsys.readouterr().out


def test_offline_it_says_what_to_fetch_and_where_to_put_it(monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", offline, raising=False)
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DownloadError, match=r"https://download.pytorch.org/models/resnet18-\w+.pth.*checkpoints"):
        create_encoder("image", "torchvision/resnet18").encode(PICTURES)


def test_unknown_weights():
    with pytest.raises(InputError, match=r"no weights 'imagenet'.*IMAGENET1K_V1"):
        create_encoder("image", "torchvision/resnet18", weights="imagenet")


def test_a_network_without_a_last_linear_layer():
    with pytest.raises(InputError, match="linear layer"):
        create_encoder("image", "torchvision/squeezenet1_0", weights="random").encode(PICTURES)
