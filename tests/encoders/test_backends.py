"""Frozen networks in OpenVINO and ONNX Runtime give what torch gives; what goes wrong ends in torch, or says why."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from cmr_hub.cli.options import backend_options
from cmr_hub.encoders import backends, create_encoder
from cmr_hub.encoders.backbone import BackboneEncoder
from cmr_hub.encoders.backends import BACKENDS, CONVERTERS, MIN_INPUTS, OpenVINONetwork
from cmr_hub.errors import InputError, MissingExtraError, UnknownNameError
from cmr_hub.processing.processing_cmr import CMRProcessor


class SmallNetwork(nn.Module):
    """A convolution, and with no grid a pool."""

    def __init__(self, is_pooled: bool):
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, kernel_size=4, stride=4)
        self.is_pooled = is_pooled

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.convolution(pixels).relu()
        return features.mean(dim=(2, 3)) if self.is_pooled else features


class SmallEncoder(BackboneEncoder):
    """Sees 8 x 8 pixels; counts how often its network is built."""

    name, dim, batch_size = "small", 5, 4

    def __init__(self, grid: int | None = None):
        self._use_grid(grid)
        self.times_built = 0

    def _build_network(self) -> nn.Module:
        self.times_built += 1
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return SmallNetwork(is_pooled=self.grid is None)

    def _preprocess(self, images: list[Image.Image]) -> torch.Tensor:
        pixels = np.stack([np.asarray(image.resize((8, 8)), dtype=np.float32) / 255 for image in images])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "modality": self.modality, **self._grid_to_dict()}

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Any = None) -> SmallEncoder:
        return cls(config.get("grid"))


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (MIN_INPUTS + 1, 12, 10, 3), dtype=np.uint8)
    return [Image.fromarray(image) for image in noise]


@pytest.fixture(params=["openvino", pytest.param("onnx", marks=pytest.mark.slow)])
def backend(request) -> str:
    """A backend that is installed here."""
    for package in CONVERTERS[request.param].packages:
        pytest.importorskip(package)
    return request.param


@pytest.fixture
def openvino(private_cache) -> str:
    pytest.importorskip("openvino")
    return "openvino"


@pytest.mark.parametrize("grid", [None, 2])
def test_features_are_those_of_torch(backend, grid, images, private_cache):
    expected = SmallEncoder(grid).use_backend("torch").encode(images)
    encoder = SmallEncoder(grid).use_backend(backend)
    for count in (1, 3, len(images)):
        torch.testing.assert_close(encoder.encode(images[:count]), expected[:count], atol=1e-5, rtol=1e-5)
    assert isinstance(encoder._converted, CONVERTERS[backend])


def test_a_conversion_is_read_without_the_network(backend, images, private_cache):
    first = SmallEncoder().use_backend(backend)
    features = first.encode(images)
    again = SmallEncoder().use_backend("auto" if backend == "openvino" else backend)
    torch.testing.assert_close(again.encode(images[:1]), features[:1], atol=1e-5, rtol=1e-5)
    assert (first.times_built, again.times_built) == (1, 0)


def test_few_images_do_not_wait_for_a_conversion(openvino, images):
    encoder = SmallEncoder().use_backend("auto")
    encoder.encode(images[: MIN_INPUTS - 1])
    assert encoder._converted is None
    encoder.encode(images[:MIN_INPUTS])
    assert isinstance(encoder._converted, OpenVINONetwork)


def test_weights_are_digested_once_for_many_queries(openvino, images, monkeypatch):
    digested = []
    monkeypatch.setattr(SmallEncoder, "_fitted_parts", lambda self: digested.append(self) or [])
    encoder = SmallEncoder().use_backend("auto")
    for image in images[:3]:
        encoder.encode([image])
    assert digested == [encoder]
    assert encoder._converted is None


@pytest.mark.parametrize("damage", ["shorter", "changed", "missing"])
def test_a_damaged_conversion_is_set_aside_and_made_anew(damage, openvino, images, private_cache, caplog):
    expected = SmallEncoder().use_backend(openvino).encode(images)
    (weights,) = private_cache.rglob("network.bin")
    content = weights.read_bytes()
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(content[:-1] if damage == "shorter" else bytes(len(content)))
    again = SmallEncoder().use_backend(openvino)
    torch.testing.assert_close(again.encode(images), expected, atol=1e-5, rtol=1e-5)
    assert "is damaged" in caplog.text
    assert isinstance(again._converted, OpenVINONetwork)


def refuse(*args: Any) -> None:
    raise RuntimeError("no such operation\nand more")


def change(network: nn.Module, *args: Any) -> None:
    CONVERT(nn.Sequential(network, nn.Hardtanh(0, 1e-3)), *args)


def fix_count(network: nn.Module, example: Any, varying: int, folder: Any) -> None:
    CONVERT(network, example, 0, folder)


CONVERT = OpenVINONetwork.convert
FAULTS = {
    "RuntimeError: no such operation": refuse,
    "its outputs differ by": change,
    "it takes inputs of one size alone": fix_count,
}


@pytest.mark.parametrize("reason", FAULTS)
def test_what_cannot_be_converted_is_computed_by_torch_with_one_warning(
    reason, openvino, images, private_cache, monkeypatch, caplog
):
    monkeypatch.setattr(OpenVINONetwork, "convert", staticmethod(FAULTS[reason]))
    encoder = SmallEncoder().use_backend(openvino)
    features = [encoder.encode(images) for _ in range(2)]
    torch.testing.assert_close(features[1], SmallEncoder().use_backend("torch").encode(images))
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage().startswith(f"small cannot be computed by openvino ({reason}")
    assert not list(private_cache.rglob("network.*"))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_a_copy_loads_the_conversion_again(copied, openvino, images):
    encoder = SmallEncoder().use_backend(openvino)
    expected = encoder.encode(images)
    again = copied(encoder)
    assert again._converted is None
    torch.testing.assert_close(again.encode(images), expected)
    assert isinstance(again._converted, OpenVINONetwork)
    assert isinstance(encoder._converted, OpenVINONetwork)


def test_other_sizes_are_computed_by_torch(openvino, images):
    encoder = SmallEncoder().use_backend(openvino)
    compute = encoder._computing(1)
    pixels = torch.rand(2, 3, 12, 16)
    torch.testing.assert_close(compute(pixels), encoder.network(pixels))


def test_a_network_that_learns_is_computed_as_it_is(openvino, images):
    encoder = SmallEncoder().use_backend(openvino)
    before = encoder.encode(images)
    encoder.network.requires_grad_(True)
    with torch.no_grad():
        encoder.network.convolution.weight.mul_(2)
    assert not torch.allclose(encoder.encode(images), before)


def test_own_weights_are_converted_anew(openvino, images):
    encoder = create_encoder("image", "torchvision/squeezenet1_1", weights="random", grid=1).use_backend("torch")
    fingerprint, conversion = encoder.fingerprint, object()
    encoder._converted = conversion
    encoder.keep_weights()
    assert encoder._converted is None
    assert encoder.fingerprint != fingerprint


def test_precisions_are_cached_apart_and_described_alike(openvino, images):
    exact, rounded = SmallEncoder().use_backend(openvino), SmallEncoder().use_backend(openvino, "bf16")
    assert SmallEncoder().use_backend("torch").fingerprint == exact.fingerprint != rounded.fingerprint
    assert exact.to_dict() == rounded.to_dict()
    expected = exact.encode(images)
    for encoder in (rounded, SmallEncoder().use_backend("torch", "bf16")):
        features = encoder.encode(images)
        assert features.dtype == torch.float32
        torch.testing.assert_close(features, expected, atol=0.02, rtol=0.02)


def test_the_environment_chooses_where_nobody_else_does(openvino, images, monkeypatch):
    monkeypatch.setenv("CMR_HUB_BACKEND", "openvino")
    monkeypatch.setenv("CMR_HUB_PRECISION", "bf16")
    told, untold = SmallEncoder().use_backend("torch", "f32"), SmallEncoder()
    told.encode(images)
    untold.encode(images)
    assert (told._converted, told.precision) == (None, "f32")
    assert isinstance(untold._converted, OpenVINONetwork)
    assert untold.precision == "bf16"
    monkeypatch.setenv("CMR_HUB_BACKEND", "openvin")
    with pytest.raises(UnknownNameError, match="openvino"):
        SmallEncoder().encode(images)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backend": "tensorrt"}, UnknownNameError, "tensorrt"),
        ({"precision": "f16"}, UnknownNameError, "f16"),
        ({"backend": "onnx", "precision": "bf16"}, InputError, "computes in f32, not in bf16. Choose 'openvino'"),
    ],
)
def test_a_choice_that_is_none(options, error, message):
    with pytest.raises(error, match=message):
        create_encoder("image", "efficientnet-lite0", **options)


@pytest.mark.parametrize("name", CONVERTERS)
def test_an_absent_package_is_named_with_its_extra(name, monkeypatch):
    packages = ["a_package_that_is_nowhere"]
    monkeypatch.setattr(CONVERTERS[name], "packages", packages)
    with pytest.raises(MissingExtraError, match=rf'a_package_that_is_nowhere.*pip install "cmr-hub\[{name}\]"'):
        create_encoder("image", "efficientnet-lite0", backend=name)


def test_auto_takes_the_first_that_is_installed_and_fits(monkeypatch):
    installed = {"openvino", "onnxruntime", "onnx", "onnxscript"}
    monkeypatch.setattr(backends, "find_spec", lambda package: package if package in installed else None)
    choose = backends.chosen_backend
    assert choose("auto", "f32", "cpu") == "openvino"
    assert choose("auto", "f32", "cuda:1") == "torch"
    installed.discard("openvino")
    assert choose("auto", "f32", torch.device("cpu")) == "onnx"
    assert choose("auto", "bf16", "cpu") == "torch"
    installed.discard("onnxscript")
    assert choose("auto", "f32", "cpu") == "torch"


def test_a_backend_of_the_cpu_refuses_other_devices():
    with pytest.raises(InputError, match=r"on meta\. Choose 'torch'"):
        SmallEncoder().use_backend("torch").to("meta").use_backend("openvino")._computing(1)


def test_encoders_without_a_network_have_nothing_to_choose():
    encoder = create_encoder("text", "bow", vocabulary=["red"], backend="torch")
    assert encoder.encode(["red"]).tolist() == [[1.0]]


def test_images_themselves_are_not_converted(openvino, images, caplog):
    encoder = create_encoder("image", "pixels", size=4, backend=openvino)
    assert encoder.encode(images).shape == (len(images), 48)
    assert encoder._converted is None
    assert not caplog.records


def test_a_grid_of_torchvision_is_converted(backend, images, private_cache):
    options = {"weights": "random", "grid": 1}
    expected = create_encoder("image", "torchvision/squeezenet1_1", backend="torch", **options).encode(images[:2])
    encoder = create_encoder("image", "torchvision/squeezenet1_1", backend=backend, **options)
    torch.testing.assert_close(encoder.encode(images[:2]), expected, atol=1e-4, rtol=1e-4)
    assert encoder._converted is not None


def test_a_full_disk_leaves_torch(openvino, images, monkeypatch, caplog):
    def fail(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backends, "write_checksums", fail)
    features = SmallEncoder().use_backend(openvino).encode(images)
    torch.testing.assert_close(features, SmallEncoder().use_backend("torch").encode(images))
    assert "torch computes it" in caplog.text


def test_the_command_line_offers_every_backend():
    from cmr_hub.cli.commands.gallery import command

    (option,) = [param for param in command.params if param.name == "backend"]
    assert sorted(option.type.choices) == sorted(BACKENDS)


def test_a_command_computes_by_the_backend_that_it_is_given(monkeypatch):
    @click.command()
    @backend_options
    def command() -> None:
        click.echo(f"{backends.default_backend()} {backends.default_precision()}")

    monkeypatch.setenv("CMR_HUB_BACKEND", "torch")
    monkeypatch.delenv("CMR_HUB_PRECISION", raising=False)
    run = CliRunner().invoke
    assert run(command, ["--backend", "onnx", "--precision", "bf16"]).output == "onnx bf16\n"
    assert run(command, []).output == "torch f32\n"  # nothing is left of the command before


def test_both_encoders_of_a_processor_follow(openvino):
    processor = CMRProcessor(SmallEncoder(), create_encoder("text", "bow", vocabulary=["red"]))
    store = processor.store
    processor.use_backend(openvino, "bf16")
    assert processor.image_encoder.precision == "bf16"
    assert processor.text_encoder.precision == "f32"  # it has no network
    assert processor.store.folder != store.folder
