"""transformers models as encoders: tiny ones with initial weights, in local folders."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from closeness import assert_alike
from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.encoders.backends import CONVERTERS
from cmr_hub.errors import CheckpointError, InputError

IMAGES = [
    Image.fromarray(values) for values in np.random.default_rng(0).integers(0, 256, (11, 40, 50, 3), dtype=np.uint8)
]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "bird", "car", "##s", "!"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder a kind of model, each as `save_pretrained` leaves it."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("models")
    (root / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizer(str(root / "vocab.txt"), model_max_length=32)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    clip = transformers.CLIPConfig(
        vision_config=VISION,
        text_config={**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 12, "eos_token_id": 3},
        projection_dim=8,
    )
    bert = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **SMALL)
    resnet = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1])
    models = {
        "vit": transformers.ViTModel(transformers.ViTConfig(**VISION)),
        "vit-without-pooler": transformers.ViTForImageClassification(transformers.ViTConfig(**VISION)),
        "resnet": transformers.ResNetModel(resnet),
        "clip": transformers.CLIPModel(clip),
        "bert": transformers.BertModel(bert),
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
        processor.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return root


def image_encoder(folder):
    return create_encoder("image", f"transformers/{folder}")


def text_encoder(folder):
    return create_encoder("text", f"transformers/{folder}")


@pytest.mark.parametrize(("name", "dim"), [("vit", 16), ("vit-without-pooler", 16), ("resnet", 24), ("clip", 8)])
def test_image_encoders(folders, name, dim):
    encoder = image_encoder(folders / name)
    features = encoder.encode(IMAGES)
    assert encoder.dim == dim
    assert features.shape == (11, dim)
    assert features.dtype == torch.float32
    torch.testing.assert_close(encoder.encode(IMAGES[9:10])[0], features[9], atol=1e-5, rtol=1e-4)


def pixels_of(folder):
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    return processor(images=IMAGES, return_tensors="pt")["pixel_values"]


@torch.no_grad()
def test_which_output_is_the_vector(folders):
    close = torch.testing.assert_close
    vit = transformers.ViTModel.from_pretrained(folders / "vit").eval()
    close(image_encoder(folders / "vit").encode(IMAGES), vit(pixels_of(folders / "vit")).pooler_output)

    whole = transformers.ViTForImageClassification.from_pretrained(folders / "vit-without-pooler").eval()
    states = whole.vit(pixels_of(folders / "vit-without-pooler")).last_hidden_state
    close(image_encoder(folders / "vit-without-pooler").encode(IMAGES), states[:, 0])

    clip = transformers.CLIPModel.from_pretrained(folders / "clip").eval()
    expected = clip.visual_projection(clip.vision_model(pixels_of(folders / "clip")).pooler_output)
    close(image_encoder(folders / "clip").encode(IMAGES), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_text_is_the_mean_over_its_tokens(folders):
    encoder = text_encoder(folders / "bert")
    features = encoder.encode(["a red bird", "a car!"])
    model = transformers.BertModel.from_pretrained(folders / "bert").eval()
    ids = torch.tensor([[2, *(WORDS.index(word) for word in ("a", "red", "bird")), 3]])
    torch.testing.assert_close(features[0], model(ids).last_hidden_state[0].mean(dim=0), atol=1e-5, rtol=1e-4)
    assert encoder.dim == features.shape[1] == 16


def test_text_order_is_kept_across_internal_batches(folders):
    encoder = text_encoder(folders / "bert")
    texts = ["a red bird " * (index % 5 + 1) for index in range(70)]
    features = encoder.encode(texts)
    for index in (0, 34, 69):
        torch.testing.assert_close(features[index], encoder.encode([texts[index]])[0], atol=1e-5, rtol=1e-4)


def test_a_dual_encoder_gives_its_text_embedding(folders):
    features = text_encoder(folders / "clip").encode(["a red bird", "a blue bird", "car " * 100])
    assert features.shape == (3, 8)
    assert not torch.allclose(features[0], features[1])


@pytest.mark.parametrize("name", ["bert", "clip"])
def test_texts_without_a_known_token_are_the_zero_vector(folders, name):
    encoder = text_encoder(folders / name)
    texts = ["", " \n", "😀❤️", "собака", "a car"]
    features = encoder.encode(texts)
    assert features.any(dim=1).tolist() == encoder.has_known_tokens(texts) == [False] * 4 + [True]
    assert encoder.encode([]).shape == (0, encoder.dim)
    assert encoder.encode(["", ""]).shape == (2, encoder.dim)


def test_one_megabyte_of_text_is_cut(folders):
    assert text_encoder(folders / "bert").encode(["a red bird " * 95_000]).any()


def test_features_can_be_trained_on(folders):
    assert not image_encoder(folders / "vit").encode(IMAGES[:1]).is_inference()
    assert not text_encoder(folders / "bert").encode(["a car"]).is_inference()


@pytest.mark.parametrize(("modality", "name", "inputs"), [("image", "vit", IMAGES), ("text", "bert", ["a red car"])])
def test_a_local_model_goes_into_the_checkpoint(folders, tmp_path, modality, name, inputs):
    encoder = create_encoder(modality, f"transformers/{folders / name}")
    encoder.save_files(tmp_path)
    config = json.loads(json.dumps(encoder.to_dict()))
    assert str(folders) not in json.dumps(config)
    again = load_encoder(config, tmp_path)
    assert "network" not in vars(again)
    assert again.dim == encoder.dim
    assert_alike(again.encode(inputs), encoder.encode(inputs))
    assert again.to_dict() == config
    assert again.fingerprint == encoder.fingerprint
    with pytest.raises(CheckpointError, match=f"{modality}_encoder"):
        load_encoder(config, tmp_path / "elsewhere")


def test_a_model_of_the_hub_is_described_not_saved(tmp_path):
    config = {
        "name": "transformers/openai/clip-vit-base-patch32",
        "modality": "image",
        "revision": "main",
        "saved_in": None,
        "dim": 512,
    }
    encoder = load_encoder(config)
    encoder.save_files(tmp_path)
    assert encoder.to_dict() == config
    assert list(tmp_path.iterdir()) == []


def test_incomplete_weights_are_refused(folders, tmp_path):
    image_encoder(folders / "vit").save_files(tmp_path)
    path = tmp_path / "image_encoder" / "model.safetensors"
    weights = load_file(path)
    save_file({name: value for name, value in weights.items() if "layernorm" not in name}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match="incomplete"):
        image_encoder(tmp_path / "image_encoder").encode(IMAGES)


def test_half_a_pooler_is_no_missing_one(folders, tmp_path):
    shutil.copytree(folders / "vit", tmp_path / "vit")
    weights = load_file(folders / "vit" / "model.safetensors")
    del weights["pooler.dense.bias"]
    save_file(weights, tmp_path / "vit" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"weights are missing .*pooler\.dense\.bias"):
        image_encoder(tmp_path / "vit").encode(IMAGES[:1])


@pytest.mark.parametrize("setting", [{"image_mean": [0.5, 0.5]}, {"rescale_factor": "/x"}, {"image_std": ["a"] * 3}])
def test_settings_of_the_preprocessor_that_cannot_be_used(folders, tmp_path, setting):
    shutil.copytree(folders / "vit", tmp_path / "vit")
    path = tmp_path / "vit" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | setting))
    with pytest.raises(CheckpointError, match=r"preprocessor of .*vit' cannot be used with its settings"):
        image_encoder(tmp_path / "vit").encode(IMAGES[:1])


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_model_that_is_not_there(monkeypatch, modality, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    encoder = create_encoder(modality, "transformers/nobody/nothing")
    with pytest.raises(CheckpointError, match=r"nobody/nothing.*could not be loaded"):
        encoder.encode(IMAGES if modality == "image" else ["a car"])


def test_bad_input_is_named_by_position(folders):
    with pytest.raises(InputError, match="image 2 of 2"):
        image_encoder(folders / "vit").encode([IMAGES[0], b"no image"])
    with pytest.raises(InputError, match="text 2 of 2"):
        text_encoder(folders / "bert").encode(["a car", 5])


@pytest.mark.parametrize(
    ("name", "backend"),
    [("bert", "openvino"), ("clip", "openvino"), pytest.param("bert", "onnx", marks=pytest.mark.slow)],
)
def test_texts_of_other_backends(folders, name, backend, private_cache, caplog):
    for package in CONVERTERS[backend].packages:
        pytest.importorskip(package)
    texts = ["a red bird", "a", "", "blue cars ! " * 20, "?"]
    encoder = text_encoder(folders / name).use_backend(backend)
    features = encoder.encode(texts)
    assert encoder._converted is not None, caplog.text
    expected = text_encoder(folders / name).use_backend("torch").encode(texts)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["vit", "clip"])
def test_images_of_another_backend(folders, name, private_cache, caplog):
    pytest.importorskip("openvino")
    encoder = image_encoder(folders / name).use_backend("openvino")
    features = encoder.encode(IMAGES)
    assert encoder._converted is not None, caplog.text
    expected = image_encoder(folders / name).use_backend("torch").encode(IMAGES)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
