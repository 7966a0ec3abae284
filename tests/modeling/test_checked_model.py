"""Checkpoints that anybody may have written: hostile configurations, and weights of no trained model."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import AutoConfig, AutoModel

import cmr_hub
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.modeling.checked_config import MAX_LABELS, MAX_SIZE
from cmr_hub.modeling.checked_weights import check_values
from toys import feature_retriever


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Method -> a checkpoint without digests, as an older version or somebody hostile leaves it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for method in ("dscmr", "cca"):
        feature_retriever(method).save_pretrained(folder / method)
        (folder / method / "checksums.json").unlink()
    return {method: folder / method for method in ("dscmr", "cca")}


@pytest.fixture(params=["dscmr", "cca"])
def checkpoint(request: pytest.FixtureRequest, made: dict[str, Path], tmp_path: Path) -> Path:
    return copied(made[request.param], tmp_path)


@pytest.fixture
def dscmr(made: dict[str, Path], tmp_path: Path) -> Path:
    return copied(made["dscmr"], tmp_path)


def copied(source: Path, target: Path) -> Path:
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def change_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_weights(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    change(weights)
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})


def model_class(folder: Path) -> type[cmr_hub.CMRModel]:
    method = json.loads((folder / "config.json").read_text())["model_type"]
    return {"dscmr": cmr_hub.DSCMRModel, "cca": cmr_hub.CCAModel}[method]


@pytest.mark.parametrize(
    "value",
    [True, "6", [6], {"a": 1}, 0, -1, 6.5, float("nan"), 1 << 62, 10**400, 10**9, MAX_SIZE, "\0", [[[]]]],
    ids=lambda value: repr(value)[:20],
)
def test_a_hostile_size_is_refused(checkpoint, value):
    change_config(checkpoint, embed_dim=value)
    with pytest.raises(CheckpointError, match=str(checkpoint)):
        model_class(checkpoint).from_pretrained(checkpoint)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_labels", MAX_LABELS + 1),
        ("num_labels", "three"),
        ("id2label", ["a"]),
        ("id2label", {"a": "b"}),
        ("id2label", {"0": ["a"]}),
        ("loss_lambda", float("inf")),
        ("loss_lambda", "1e-3"),
        ("residual_norm", 3),
        ("dtype", "load"),
        ("dtype", ["float16"]),
        ("to_dict", 3),
        ("__class__", "str"),
        ("attn_implementation", "kernels-community/x"),
        ("quantization_config", {"quant_method": "gptq"}),
        ("transformers_weights", "../x.safetensors"),
        ("auto_map", {"AutoModel": "me/x--model.Model"}),
    ],
)
def test_a_hostile_field_is_refused(dscmr, field, value):
    change_config(dscmr, **{field: value})
    with pytest.raises(CheckpointError):
        cmr_hub.DSCMRModel.from_pretrained(dscmr)
    with pytest.raises(CheckpointError):
        AutoModel.from_pretrained(dscmr)


def test_a_configuration_alone_is_checked(dscmr):
    change_config(dscmr, num_labels=10**9)
    with pytest.raises(CheckpointError, match=f"config.json of {dscmr} has 'num_labels': 1,000,000,000 is more"):
        AutoConfig.from_pretrained(dscmr)


def test_fields_that_mean_nothing_here_are_left_alone(dscmr):
    change_config(dscmr, made_by="somebody", quantization_config=None)
    assert cmr_hub.DSCMRModel.from_pretrained(dscmr).config.made_by == "somebody"


def test_arguments_still_change_the_configuration(dscmr):
    model, info = cmr_hub.DSCMRModel.from_pretrained(dscmr, loss_lambda=0.5, output_loading_info=True)
    assert model.config.loss_lambda == 0.5
    assert info["missing_keys"] == set()
    with pytest.raises(CheckpointError, match="mismatched keys"):
        cmr_hub.DSCMRModel.from_pretrained(dscmr, hidden_dim=9)


def test_huge_layers_take_no_memory(dscmr, monkeypatch):
    """The weights' header refuses them before a tensor is allocated: transformers is not even asked."""
    change_config(dscmr, hidden_dim=MAX_SIZE, embed_dim=MAX_SIZE)
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", lambda *args, **kwargs: pytest.fail("asked"))
    with pytest.raises(CheckpointError, match="mismatched keys"):
        cmr_hub.DSCMRModel.from_pretrained(dscmr)


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (cmr_hub.DCCAConfig, {"hidden_layers": 10**6}, "hidden_layers must be at most"),
        (cmr_hub.DANConfig, {"steps": 10**6}, "steps must be from 0"),
        (cmr_hub.DBMConfig, {"mean_field_steps": 10**6}, "mean_field_steps must be at most"),
        (cmr_hub.LSSHConfig, {"sparse_steps": 10**6}, "sparse_steps must be at most"),
    ],
)
def test_what_is_repeated_is_bounded(config, fields, message):
    with pytest.raises(Exception, match=message):
        config(**fields)
    with pytest.raises(CheckpointError, match=message):
        config.from_dict({"model_type": config.model_type, **fields})


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_named(checkpoint, value):
    def spoil(weights):
        name = max(name for name, tensor in weights.items() if tensor.ndim == 2)
        weights[name][2, 1] = value

    change_weights(checkpoint, spoil)
    with pytest.raises(CheckpointError, match=r"hold NaN or infinity in \w+.*, row 2 \(1 such rows\)"):
        model_class(checkpoint).from_pretrained(checkpoint)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_weights_of_another_kind_of_number_are_refused(checkpoint, dtype):
    def spoil(weights):
        name = max(name for name, tensor in weights.items() if tensor.ndim == 2)
        weights[name] = weights[name].to(dtype)

    change_weights(checkpoint, spoil)
    with pytest.raises(CheckpointError, match="mismatched keys"):
        model_class(checkpoint).from_pretrained(checkpoint)


@pytest.mark.parametrize("names", ["image", "text", ""])
def test_a_modality_of_zeros_alone_is_refused(checkpoint, names):
    def spoil(weights):
        for name, tensor in weights.items():
            if names in name and tensor.is_floating_point():
                tensor.zero_()

    change_weights(checkpoint, spoil)
    with pytest.raises(CheckpointError, match="are zero: every input would have the same embedding"):
        model_class(checkpoint).from_pretrained(checkpoint)


def test_what_is_zero_by_right_loads(tmp_path):
    """A bias, a classifier before training, and projections that were never fitted."""
    model = feature_retriever("dscmr").model
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1 or "classifier" in name:
            tensor.zero_()
    model.save_pretrained(tmp_path / "dscmr")
    cmr_hub.DSCMRModel.from_pretrained(tmp_path / "dscmr")
    config = cmr_hub.CCAConfig(image_dim=6, text_dim=4, embed_dim=3)
    cmr_hub.CCAModel(config).save_pretrained(tmp_path / "cca")
    assert not cmr_hub.CCAModel.from_pretrained(tmp_path / "cca").is_fitted


def test_values_that_are_no_numbers_are_passed_over(tmp_path):
    module = torch.nn.Module()
    module.register_buffer("count", torch.zeros((), dtype=torch.int64))
    module.register_buffer("empty", torch.zeros(0, 3))
    check_values(module, tmp_path)


def test_weights_in_another_folder_are_not_read(dscmr, tmp_path):
    (dscmr / "model.safetensors").rename(dscmr / "part.safetensors")
    index = dscmr / "model.safetensors.index.json"
    for name in ("../part.safetensors", str(dscmr / "part.safetensors")):
        index.write_text(json.dumps({"weight_map": {"shared.weight": name}}))
        with pytest.raises(CheckpointError, match="Only plain relative names"):
            cmr_hub.DSCMRModel.from_pretrained(dscmr)
    index.write_text(json.dumps({"weight_map": 3}))
    with pytest.raises(CheckpointError, match="has no weight_map"):
        cmr_hub.DSCMRModel.from_pretrained(dscmr)


def test_weights_in_parts_are_whole(dscmr):
    expected = cmr_hub.DSCMRModel.from_pretrained(dscmr).state_dict()
    (dscmr / "model.safetensors").rename(dscmr / "model-1.safetensors")
    parts = {"metadata": {}, "weight_map": dict.fromkeys(expected, "model-1.safetensors")}
    (dscmr / "model.safetensors.index.json").write_text(json.dumps(parts))
    loaded = cmr_hub.DSCMRModel.from_pretrained(dscmr).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "processor_config.json"])
def test_a_pipe_is_never_opened(dscmr, name):
    (dscmr / name).unlink()
    os.mkfifo(dscmr / name)
    with pytest.raises(CheckpointError, match=f"{name} is a pipe"):
        cmr_hub.from_pretrained(dscmr)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "processor_config.json"])
def test_a_link_out_of_the_folder_is_not_followed(made, dscmr, name):
    (dscmr / name).unlink()
    (dscmr / name).symlink_to(made["dscmr"] / name)
    with pytest.raises(CheckpointError, match=f"{name} is a link that leads out"):
        cmr_hub.from_pretrained(dscmr)


def test_a_subfolder_outside_is_not_read(dscmr):
    with pytest.raises(CheckpointError, match="Only plain relative names"):
        cmr_hub.DSCMRModel.from_pretrained(dscmr, subfolder="..")


def test_an_embedding_that_is_not_finite_is_no_answer(dscmr):
    retriever = cmr_hub.from_pretrained(dscmr)
    with torch.no_grad():
        retriever.model.text_branch.weight.fill_(3e38)
    with pytest.raises(InputError, match="text 1 of 1: its embedding is NaN or infinite"):
        retriever.encode_texts(np.full((1, 4), 100, np.float32))
