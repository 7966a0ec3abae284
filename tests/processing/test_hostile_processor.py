"""A processor_config.json that anybody may have written: it reads and writes nothing outside its folder."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from cmr_hub import CMRProcessor
from cmr_hub.encoders import create_encoder
from cmr_hub.encoders.glove import GloveEncoder
from cmr_hub.errors import CheckpointError, CMRError

IMAGE = {"name": "precomputed", "modality": "image", "dim": 6, "description": "", "transform": "none"}
TEXT = {"name": "precomputed", "modality": "text", "dim": 4, "description": "", "transform": "none"}
SEVERAL = [None, True, 3, -1, 10**400, float("nan"), "x", "/etc", [], [1], {}, {"a": 1}, "\0"]


def write(folder: Path, image: object = IMAGE, text: object = TEXT) -> Path:
    (folder / "processor_config.json").write_text(json.dumps({"image_encoder": image, "text_encoder": text}))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        CMRProcessor.from_pretrained(folder)
    assert str(folder) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", SEVERAL, ids=lambda value: repr(value)[:20])
def test_what_is_no_encoder_is_refused(tmp_path, value):
    refusal(write(tmp_path, image=value))
    refusal(write(tmp_path, image={**IMAGE, "name": value}))
    refusal(write(tmp_path, image={**IMAGE, "modality": value}))


def test_an_encoder_of_the_other_modality_is_refused(tmp_path):
    assert "is one of texts" in refusal(write(tmp_path, image=TEXT))


@pytest.mark.parametrize("weights", ["/etc/passwd", "../x.pth", "elsewhere.safetensors", 3, ["a"]])
@pytest.mark.parametrize(
    "encoder",
    [
        {"name": "efficientnet-lite0", "modality": "image"},
        {"name": "torchvision/alexnet", "modality": "image", "seed": 0},
    ],
    ids=lambda encoder: encoder["name"],
)
def test_weights_elsewhere_are_not_read(tmp_path, monkeypatch, encoder, weights):
    """The file is there, and is neither opened nor copied by saving."""
    torch.save({}, tmp_path / "elsewhere.safetensors")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoint").mkdir()
    message = refusal(write(tmp_path / "checkpoint", image={**encoder, "weights": weights}))
    assert "has no weights" in message or "is wrong" in message


def test_published_and_own_weights_are_still_named(tmp_path):
    for weights in ("IMAGENET1K_V1", "random"):
        encoder = create_encoder("image", "torchvision/alexnet", weights=weights)
        assert CMRProcessor.from_pretrained(write(tmp_path, image=encoder.to_dict())).image_encoder.weights == weights


@pytest.mark.parametrize(
    "saved_in", ["/etc", "..", "../elsewhere", "a/../../elsewhere", "a\\b", ".", 3, ["a"], "link"]
)
def test_models_elsewhere_are_neither_read_nor_written(tmp_path, saved_in):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "link").symlink_to("../elsewhere")
    text = {"name": "transformers/x", "modality": "text", "revision": None, "saved_in": saved_in, "dim": 4}
    refusal(write(tmp_path / "checkpoint", text=text))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_model_must_be_a_folder(tmp_path):
    text = {"name": "transformers/x", "modality": "text", "revision": None, "saved_in": "README.md", "dim": 4}
    (tmp_path / "README.md").write_text("a card")
    assert "is no folder of a model" in refusal(write(tmp_path, text=text))


@pytest.mark.parametrize("name", ["transformers//etc", "transformers/./x", "transformers/../x", "transformers/a/b/c"])
def test_a_model_that_is_named_is_a_repo(tmp_path, name):
    text = {"name": name, "modality": "text", "revision": None, "saved_in": None, "dim": 4}
    assert "repo id" in refusal(write(tmp_path, text=text))


def test_a_folder_here_does_not_pass_for_a_repo(tmp_path, monkeypatch):
    (tmp_path / "me" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    text = {"name": "transformers/me/model", "modality": "text", "revision": None, "saved_in": None, "dim": 4}
    assert "would be read instead" in refusal(write(tmp_path, text=text))


@pytest.mark.parametrize(
    ("field", "value"),
    [("attn_implementation", "kernels-community/x"), ("num_hidden_layers", 10**6), ("vocab_size", 10**12)],
)
def test_a_local_model_neither_fetches_code_nor_builds_for_ever(tmp_path, field, value):
    model = tmp_path / "text_encoder"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "bert", "text_config": {field: value}}))
    text = {"name": "transformers/x", "modality": "text", "revision": None, "saved_in": "text_encoder", "dim": 4}
    encoder = CMRProcessor.from_pretrained(write(tmp_path, text=text)).text_encoder
    with pytest.raises(CheckpointError, match=field):
        encoder.encode(["a"])


@pytest.fixture
def cnn(tmp_path: Path) -> Path:
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    encoder = create_encoder("text", "sentence_cnn", variant="rand", epochs=1, maps=2)
    encoder.fit(["a red bird", "a blue bird", "a red car", "a blue car"], labels)
    encoder.save_files(tmp_path)
    return write(tmp_path, text=encoder.to_dict())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("windows", value) for value in ([10**9], [3] * 10**5, 3, ["a"], None, [])),
        *(("maps", value) for value in (10**9, -1, "2", None, 2.5)),
        *(("variant", value) for value in (["rand"], "other", None, "static")),
        *(("vectors", value) for value in (3, {"name": "glove"}, "/etc/passwd")),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_hostile_network_of_words_takes_no_memory(cnn, field, value):
    config = json.loads((cnn / "processor_config.json").read_text())
    config["text_encoder"][field] = value
    (cnn / "processor_config.json").write_text(json.dumps(config))
    refusal(cnn)


def test_weights_of_words_that_are_not_finite_are_refused(cnn):
    weights = load_file(cnn / "text_sentence_cnn.safetensors")
    weights["vectors"][1, 0] = np.nan
    save_file(weights, cnn / "text_sentence_cnn.safetensors")
    assert "NaN or infinity in vectors, row 1" in refusal(cnn)


@pytest.mark.parametrize("value", SEVERAL, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize(
    "text",
    [
        {"name": "bow", "max_features": None, "min_count": 1, "binary": False},
        {"name": "tokens", "max_features": None, "min_count": 1, "max_length": 9, "vectors": None},
        {"name": "word2vec", "algorithm": "cbow", "dim": 4, "window": 1, "epochs": 1, "min_count": 1, "seed": 0},
        {"name": "glove", "source": "file", "dim": 4},
        TEXT,
    ],
    ids=lambda text: text["name"],
)
def test_a_field_of_another_type_is_no_raw_error(tmp_path, text, value):
    """Each field in turn; what is harmless may load."""
    GloveEncoder(["red", "bird"], np.eye(2, 4)).save_files(tmp_path)
    for field in text:
        write(tmp_path, text={"modality": "text", **text, field: value})
        try:
            CMRProcessor.from_pretrained(tmp_path)
        except CMRError as error:
            assert str(tmp_path) in str(error)  # noqa: PT017  it need not be raised


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_in_the_place_of_a_vocabulary(tmp_path):
    os.mkfifo(tmp_path / "text_vocabulary.json")
    text = {"name": "bow", "modality": "text", "max_features": None, "min_count": 1, "binary": False}
    assert "is a pipe" in refusal(write(tmp_path, text=text))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.array([[1.0, np.inf]], np.float16), "NaN or infinity in vectors, row 0"),
        (np.ones((1, 2), np.int32), "dimensions of floats are expected"),
        (np.ones(2, np.float16), "dimensions of floats are expected"),
    ],
)
def test_vectors_of_words_that_are_none(tmp_path, vectors, message):
    GloveEncoder(["red"], np.ones((1, 2))).save_files(tmp_path)
    save_file({"vectors": vectors}, tmp_path / "text_encoder.safetensors")
    assert message in refusal(write(tmp_path, text={"name": "glove", "modality": "text", "source": "file", "dim": 2}))
