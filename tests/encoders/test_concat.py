"""The vectors of several encoders end to end."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from cmr_hub import CMRProcessor
from cmr_hub.encoders import create_encoder, encoder_class, load_encoder
from cmr_hub.errors import CheckpointError, InputError, UnknownNameError

TEXTS = ["a red bird", "a blue bird sings", "two dogs"]


@pytest.fixture
def joined():
    return create_encoder("text", "concat/bow+tfidf+glove", options={"bow": {"binary": True}}).fit(TEXTS)


def test_vectors_are_those_of_the_encoders_in_order(joined):
    parts = [
        create_encoder("text", "bow", binary=True),
        create_encoder("text", "tfidf"),
        create_encoder("text", "glove"),
    ]
    queries = ["red red dogs", "zzzzqq"]
    expected = np.concatenate([part.fit(TEXTS).encode(queries).numpy() for part in parts], axis=1)
    np.testing.assert_array_equal(joined.encode(queries).numpy(), expected)
    assert not joined.cacheable
    assert joined.dim == expected.shape[1] == 7 + 7 + 50


def test_what_one_encoder_knows_is_known(joined):
    assert joined.has_known_tokens(["cat", "zzzzqq bird", "zzzzqq", ""]) == [True, True, False, False]
    assert joined.unknown_words("a zzzzqq cat, qqqqzz") == ["zzzzqq", "qqqqzz"]


def test_round_trip(joined, tmp_path):
    joined.save_files(tmp_path)
    again = load_encoder(json.loads(json.dumps(joined.to_dict())), tmp_path)
    assert (again.name, again.fingerprint) == ("concat/bow+tfidf+glove", joined.fingerprint)
    torch.testing.assert_close(again.encode(TEXTS), joined.encode(TEXTS))


def test_a_checkpoint_carries_all_encoders(joined, tmp_path):
    images = create_encoder("image", "concat/efficientnet-lite0+pixels")  # without files
    CMRProcessor(images, joined).save_pretrained(tmp_path)
    again = CMRProcessor.from_pretrained(tmp_path)
    assert again.image_encoder.fingerprint == images.fingerprint
    assert again.text_encoder.fingerprint == joined.fingerprint


def test_what_an_encoder_learned_is_in_the_fingerprint(joined):
    other = create_encoder("text", joined.name, options={"bow": {"binary": True}}).fit([*TEXTS, "a cat"])
    assert other.fingerprint != joined.fingerprint


def test_images():
    image = Image.fromarray(np.arange(12 * 8 * 3, dtype=np.uint8).reshape(12, 8, 3))
    options = {"efficientnet-lite0": {"view": "whole"}, "efficientnet-lite1": {}}
    encoder = create_encoder("image", "concat/efficientnet-lite0+efficientnet-lite1", options=options)
    assert (encoder.dim, encoder.input_name, encoder.cacheable) == (2560, "image_features", True)
    assert encoder.encoders[0].view == "whole"
    parts = [create_encoder("image", name, **given).encode([image]) for name, given in options.items()]
    torch.testing.assert_close(encoder.encode([image]), torch.cat(parts, dim=1), atol=1e-4, rtol=1e-4)


def test_captions_that_one_encoder_was_trained_on():
    kind = encoder_class("text", "concat/minilm+tfidf")
    minilm = encoder_class("text", "minilm").trained_on("minilm")
    assert kind.trained_on("concat/tfidf+minilm") == minilm != {}
    assert kind.trained_on("concat/tfidf+glove") == {}


def test_precisions_are_cached_apart():
    encoder = create_encoder("image", "concat/efficientnet-lite0+efficientnet-lite1")
    exact = encoder.fingerprint
    assert encoder.use_backend("torch").fingerprint == exact
    assert encoder.use_backend("openvino", "bf16").fingerprint != exact


def test_limits_are_those_of_all(joined):
    assert all(part.limits in joined.limits_of(joined.name) for part in joined.encoders)


@pytest.mark.parametrize(
    ("modality", "name", "options", "message"),
    [
        ("text", "concat/glove", {}, "two or more different encoders, and is given glove"),
        ("text", "concat/glove+glove", {}, "two or more different encoders"),
        ("text", "concat/glove+tokens", {}, "'tokens', as it is set, is none"),
        ("text", "concat/glove+sentence_cnn", {}, "learn from texts alone, and 'sentence_cnn'"),
        ("image", "concat/pixels+efficientnet-lite0", {"efficientnet-lite0": {"grid": 7}}, "'efficientnet-lite0', as"),
        ("text", "concat/" * 2000 + "bow+tfidf", {}, "a concat inside a concat"),
        ("text", "concat/bow+precomputed", {}, "does not take these options .*'dim'"),
        ("text", "concat/bow+tfidf", {"bow": {"min_cuont": 2}}, "'bow' does not take these options .*'min_cuont'"),
        ("text", "concat/bow+tfidf", {"bow": {"modality": "image"}}, "does not take these options .*'modality'"),
        ("text", "concat/bow+tfidf", {"bow": 3}, "options must be a mapping to a mapping"),
        ("text", "concat/bow+tfidf", ["bow"], "options must be"),
    ],
)
def test_encoders_that_cannot_be_joined(modality, name, options, message):
    with pytest.raises(InputError, match=message):
        create_encoder(modality, name, options=options)


@pytest.mark.parametrize(("name", "options"), [("glov+tfidf", {}), ("glove+tfidf", {"tfdif": {}})])
def test_names_that_are_none(name, options):
    with pytest.raises(UnknownNameError, match="Did you mean"):
        create_encoder("text", f"concat/{name}", options=options)


def test_a_checkpoint_without_one_of_the_encoders(joined, tmp_path):
    joined.save_files(tmp_path)
    (tmp_path / "text_encoder_1" / "text_vocabulary.json").unlink()
    with pytest.raises(CheckpointError, match=r"text_vocabulary\.json"):
        load_encoder(joined.to_dict(), tmp_path)


def test_a_checkpoint_that_names_encoders_of_another_modality():
    images = [create_encoder("image", name).to_dict() for name in ("efficientnet-lite0", "efficientnet-lite2")]
    with pytest.raises(CheckpointError, match="concat joins text encoders, and 'efficientnet-lite0' is none"):
        load_encoder({"name": "concat/bow+tfidf", "modality": "text", "encoders": images})


def test_a_word_counts_as_known_where_any_encoder_knows_it():
    joined = create_encoder("text", "concat/bow+tfidf", options={"bow": {"max_features": 1}})
    joined.fit(["bird bird cat", "bird sunglasses"])
    assert joined.read_words("a bird, cat") == [("a", False), ("bird", True), ("cat", True)]
    assert joined.near_words("sunglases") == ["sunglasses"]
