"""The arguments that users of transformers pass to every `from_pretrained`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor

import cmr_hub
from cmr_hub.encoders import create_encoder
from cmr_hub.errors import CheckpointError, CheckpointNotFoundError, InputError, UnknownArgumentError
from hub_server import TOKEN, HubServer
from small_checkpoints import contents
from tiny_text_models import sentence_model
from toys import feature_dataset, feature_retriever

LOADERS = {
    "retriever": cmr_hub.from_pretrained,
    "model": cmr_hub.DSCMRModel.from_pretrained,
    "auto model": AutoModel.from_pretrained,
    "processor": cmr_hub.CMRProcessor.from_pretrained,
    "auto processor": AutoProcessor.from_pretrained,
}
MODELS = ("retriever", "model", "auto model")
each_loader = pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
each_model = pytest.mark.parametrize("load", [LOADERS[name] for name in MODELS], ids=MODELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and the same again in the folder "best" inside it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    feature_retriever("dscmr").save_pretrained(folder)
    feature_retriever("dscmr", seed=1).save_pretrained(folder / "best")
    return folder


def model_of(loaded) -> cmr_hub.CMRModel:
    return getattr(loaded, "model", loaded)


@each_loader
def test_all_arguments_of_the_contract_are_taken(load, folder, tmp_path):
    load(
        folder,
        revision="main",
        cache_dir=tmp_path,
        subfolder="best",
        token=False,
        local_files_only=True,
        force_download=False,
        dtype="float32",
        device="cpu",
        trust_remote_code=True,
    )


@each_model
def test_a_subfolder_is_the_checkpoint(load, folder):
    weights = [model_of(load(folder, **options)).shared.weight for options in ({}, {"subfolder": "best"})]
    assert not torch.equal(*weights)
    assert torch.equal(weights[1], feature_retriever("dscmr", seed=1).model.shared.weight)


@pytest.mark.parametrize(
    ("subfolder", "error", "message"),
    [("none", CheckpointNotFoundError, "no folder 'none' in"), ("../x", CheckpointError, "plain relative names")],
)
def test_a_subfolder_that_is_none(folder, subfolder, error, message):
    for load in (LOADERS["retriever"], LOADERS["model"], LOADERS["processor"]):
        with pytest.raises(error, match=message):
            load(folder, subfolder=subfolder)


@each_loader
def test_the_hub_is_asked_with_the_arguments(load, folder, tmp_path, connected: HubServer):
    connected.add_repo("me/x", contents(folder), private=True)
    options = {"cache_dir": tmp_path / "models", "token": TOKEN, "subfolder": "best"}
    load("me/x", **options)
    assert [path.name for path in (tmp_path / "models").iterdir() if path.name.startswith("models--")]
    assert not list((tmp_path / "home").rglob("*.json"))  # the other cache
    connected.stop()
    load("me/x", local_files_only=True, **options)
    with pytest.raises(OSError, match=r"not in the local cache|cached files"):
        load("me/x", local_files_only=True, cache_dir=tmp_path / "empty")


def test_what_is_not_cached_is_not_fetched(folder, tmp_path, connected: HubServer):
    connected.add_repo("me/x", contents(folder))
    for load in (LOADERS["retriever"], LOADERS["model"], LOADERS["processor"]):
        with pytest.raises(CheckpointNotFoundError, match=r"not in the local cache, .*models\. The Hub was not asked"):
            load("me/x", local_files_only=True, cache_dir=tmp_path / "models")
    assert connected.requests == []


def test_galleries_are_found_likewise(folder, tmp_path, connected: HubServer):
    connected.add_repo("me/x", contents(folder))
    options = {"cache_dir": tmp_path / "cache"}
    retriever = cmr_hub.from_pretrained("me/x", **options)
    gallery = cmr_hub.Gallery.from_dataset(feature_dataset(9), retriever)
    gallery.save_pretrained(tmp_path / "galleries" / "small")
    (tmp_path / "galleries" / "small" / "README.md").write_text("# A gallery\n")
    connected.add_repo("me/galleries", contents(tmp_path / "galleries"), repo_type="dataset")
    cmr_hub.Gallery.from_pretrained("me/galleries", subfolder="small", force_download=True, **options)
    connected.stop()
    found = cmr_hub.Gallery.from_pretrained("me/galleries", subfolder="small", local_files_only=True, **options)
    np.testing.assert_array_equal(found.embeds["image"], gallery.embeds["image"])
    assert not list((tmp_path / "home").rglob("*.json"))


@each_model
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, torch.float32),
        ({"dtype": torch.bfloat16}, torch.bfloat16),
        ({"dtype": "float16"}, torch.float16),
        ({"dtype": "auto"}, torch.float16),
        ({"dtype": None}, torch.float32),
    ],
)
def test_the_precision_of_the_weights(load, options, expected, tmp_path):
    retriever = feature_retriever("dscmr")
    retriever.model.half()
    retriever.save_pretrained(tmp_path)
    assert model_of(load(tmp_path, **options)).dtype == expected


@pytest.mark.filterwarnings("ignore:.*torch_dtype:DeprecationWarning")
@each_model
def test_the_precision_by_its_earlier_name(load, folder):
    assert model_of(load(folder, torch_dtype="bfloat16")).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["int8", torch.int64, "half precision", torch.float8_e4m3fn, 16])
def test_a_precision_that_is_none(folder, dtype):
    for load in (LOADERS["retriever"], LOADERS["model"], LOADERS["processor"]):
        with pytest.raises(InputError, match=r"dtype is .*: give 'float32'"):
            load(folder, dtype=dtype)


@each_loader
@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}, torch.device("cpu"), None])
def test_one_device(load, device_map, folder, monkeypatch):
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda check_available: None)
    loaded = load(folder, device_map=device_map)
    if isinstance(model_of(loaded), cmr_hub.CMRModel):
        assert model_of(loaded).device == torch.device("cpu")


@each_loader
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device_map": {"shared": "cpu", "classifier": "disk"}}, "has 2 devices, and a checkpoint is on one"),
        ({"device_map": {}}, "has 0 devices"),
        ({"device_map": "meta"}, "holds no values"),
        ({"device": "gpu"}, "There is no device 'gpu'"),
        ({"device": "vulkan"}, "This machine cannot compute on 'vulkan'"),
        ({"device": "cpu", "device_map": "cpu"}, "give one of them"),
    ],
)
def test_devices_that_are_refused(load, options, message, folder):
    with pytest.raises(InputError, match=message):
        load(folder, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"low_cpu_mem_usage": True},
        {"attn_implementation": "eager"},
        {"use_safetensors": True},
        {"ignore_mismatched_sizes": False},
        {"quantization_config": None},
        {"proxies": {}},
        {"adapter_kwargs": None},
    ],
    ids=str,
)
def test_what_would_change_nothing_is_accepted(options, folder):
    cmr_hub.DSCMRModel.from_pretrained(folder, **options)
    AutoModel.from_pretrained(folder, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"use_safetensors": False}, "never read"), ({"ignore_mismatched_sizes": True}, "to chance")],
)
def test_what_would_be_unsafe_is_refused(options, message, folder):
    with pytest.raises(InputError, match=message):
        cmr_hub.DSCMRModel.from_pretrained(folder, **options)


@each_loader
@pytest.mark.parametrize("option", ["local_file_only", "variant"])
def test_an_unknown_argument_is_named(load, option, folder):
    with pytest.raises(TypeError, match=option):
        load(folder, **{option: "x"})


def test_near_names_of_unknown_arguments(folder):
    for load in (LOADERS["model"], LOADERS["processor"]):
        with pytest.raises(UnknownArgumentError, match="Did you mean 'local_files_only'"):
            load(folder, local_file_only=True)


def test_the_encoders_of_a_checkpoint_are_fetched_likewise(tmp_path, connected: HubServer):
    """A checkpoint names models of the Hub that it does not carry, here one of a private repo."""
    connected.add_repo("me/words", contents(sentence_model(tmp_path / "words")), private=True)
    asked = {"cache_dir": tmp_path / "models", "token": TOKEN}
    encoder = create_encoder("text", "concat/bow+me/words", options={"bow": {"vocabulary": ["red"]}})
    encoder.fetch_with(**asked)
    images = create_encoder("image", "precomputed", dim=6)
    config = cmr_hub.CCAConfig(image_dim=6, text_dim=encoder.dim, embed_dim=2)
    cmr_hub.Retriever(cmr_hub.CCAModel(config), cmr_hub.CMRProcessor(images, encoder)).save_pretrained(tmp_path / "x")
    with pytest.raises(CheckpointError, match="me/words"):
        cmr_hub.from_pretrained(tmp_path / "x").encode_texts(["a red bird"])
    for load in (LOADERS["retriever"], LOADERS["processor"], LOADERS["auto processor"]):
        for options in (asked, {"cache_dir": tmp_path / "models", "local_files_only": True}):
            connected.requests.clear()
            loaded = load(tmp_path / "x", **options)
            processor = getattr(loaded, "processor", loaded)
            assert processor(text=["a red bird"])["text_features"].shape == (1, encoder.dim)
            assert bool(connected.requests) == (options is asked)
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def test_a_configuration_of_a_bundled_checkpoint_is_found(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "toy")
    monkeypatch.setattr("cmr_hub.utils.hub.bundled_folder", lambda: tmp_path)
    assert cmr_hub.DSCMRConfig.from_pretrained("cmr/toy").image_dim == 6
    assert AutoConfig.from_pretrained(folder, subfolder="best").image_dim == 6
