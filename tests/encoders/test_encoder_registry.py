"""Names lead to encoders."""

import subprocess
import sys

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from cmr_hub.encoders import ENCODERS, create_encoder, list_encoders, load_encoder, resolve_encoder
from cmr_hub.encoders.base import Encoder
from cmr_hub.errors import CheckpointError, InputError, UnknownNameError


@pytest.mark.parametrize("modality", ["image", "text"])
def test_every_registered_name_leads_to_an_encoder(modality):
    for name in list_encoders(modality):
        assert issubclass(ENCODERS[modality][name], Encoder)


@pytest.mark.parametrize(
    ("modality", "name", "near"),
    [
        ("image", "efficentnet-lite0", "efficientnet-lite0"),
        ("image", "vgg-19", "vgg19"),
        ("image", "torchvison/resnet50", "torchvision/"),
        ("image", "efficientnet-lite0/large", "efficientnet-lite0"),
        ("image", "torchvision/resnet55", "resnet50"),
        ("text", "glov", "glove"),
        ("text", "tf-idf", "tfidf"),
        ("sound", "glove", "image, text"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(modality, name, near):
    with pytest.raises(UnknownNameError, match=near):
        create_encoder(modality, name)


@pytest.mark.parametrize(
    ("modality", "given", "resolved"),
    [
        ("text", "minilm", "minilm"),
        ("text", {"name": "word2vec", "window": 3}, {"name": "word2vec", "window": 3}),
        (
            "image",
            {"name": "torchvision", "model": "resnet18", "grid": 3},
            {"name": "torchvision/resnet18", "grid": 3},
        ),
        ("text", {"name": "transformers/", "model": "me/bert"}, "transformers/me/bert"),
        ("image", "me/vit", "transformers/me/vit"),
        ("image", "~/vit", "transformers/{home}/vit"),
        ("text", "{home}/vit", "transformers/{home}/vit"),
        ("text", "{home}/sentences", "sentence-transformers/{home}/sentences"),
        ("text", "me/sentences", "sentence-transformers/me/sentences"),
        ("text", "me/bert", "transformers/me/bert"),
    ],
)
def test_encoders_in_other_words(monkeypatch, tmp_path, modality, given, resolved):
    def download(repo, name):
        if repo != "me/sentences":
            raise LocalEntryNotFoundError("no network")
        return name

    def at_home(name):
        return name.replace("{home}", str(tmp_path)) if isinstance(name, str) else name

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "vit").mkdir()
    (tmp_path / "sentences").mkdir()
    (tmp_path / "sentences" / "modules.json").write_text("[]")
    assert resolve_encoder(modality, at_home(given)).to_dict() == at_home(resolved)


@pytest.mark.parametrize("given", ["transformers", "transformers/", {"name": "torchvision", "model": 18}])
def test_a_family_without_a_model(given):
    with pytest.raises(InputError, match="is a family of image encoders"):
        resolve_encoder("image", given)


@pytest.mark.parametrize("config", [{}, {"name": "glove"}, {"name": "bow", "modality": "text"}, "glove", None])
def test_a_description_with_holes_is_a_checkpoint_error(config):
    with pytest.raises(CheckpointError):
        load_encoder(config)


def test_a_text_query_waits_for_no_image_network():
    code = (
        "import sys; from cmr_hub.encoders import create_encoder as create;"
        "create('image', 'efficientnet-lite0').fingerprint; create('text', 'glove').encode(['a dog']);"
        "sys.exit('timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("modality", "name", "options", "input_name"),
    [
        ("image", "efficientnet-lite0", {}, "image_features"),
        ("image", "efficientnet-lite0", {"grid": 7}, "region_features"),
        ("image", "vgg19", {"grid": 7, "weights": "random"}, "region_features"),
        ("image", "pixels", {}, "image_features"),
        ("text", "glove", {}, "text_features"),
        ("text", "tokens", {}, "input_ids"),
    ],
)
def test_what_a_model_calls_the_features(modality, name, options, input_name):
    encoder = create_encoder(modality, name, **options)
    assert encoder.input_name == input_name
    assert encoder.mapped == (input_name == "region_features")
    assert encoder.supports_mean_pooling == (name != "tokens")
    assert input_name in encoder.as_inputs(torch.ones(2, 3, dtype=torch.int64))
