"""Term counts and TF-IDF."""

import json
import time

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from closeness import assert_alike
from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.encoders.bag_of_words import BagOfWordsEncoder, TfidfEncoder
from cmr_hub.encoders.tokenise import tokenise
from cmr_hub.errors import CheckpointError, InputError

SLIDES = ["John likes to watch movies. Mary likes too.", "John also likes to watch football games."]
TEXTS = [*SLIDES, "红色的鸟 летит", "a red bird, a blue bird", ""]


def test_the_slides_example():
    words = ["john", "likes", "to", "watch", "movies", "also", "football", "games", "mary", "too"]
    encoder = BagOfWordsEncoder(vocabulary=words)
    assert encoder.encode(SLIDES).tolist() == [[1, 2, 1, 1, 1, 0, 0, 0, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1, 0, 0]]
    assert set(BagOfWordsEncoder().fit(SLIDES).vocabulary) == set(words)


def test_binary_says_whether_a_word_occurs():
    assert BagOfWordsEncoder(binary=True).fit(SLIDES).encode(["likes likes"]).max() == 1


def test_tfidf_agrees_with_scikit_learn():
    from sklearn.feature_extraction.text import TfidfVectorizer

    theirs = TfidfVectorizer(tokenizer=tokenise, token_pattern=None, lowercase=False).fit(TEXTS)
    ours = TfidfEncoder().fit(TEXTS)
    queries = [*TEXTS, "likes likes birds bird red"]
    assert ours.vocabulary == theirs.get_feature_names_out().tolist()
    np.testing.assert_allclose(ours.encode(queries), theirs.transform(queries).toarray(), atol=1e-6)


@pytest.mark.parametrize("name", ["bow", "tfidf"])
def test_empty_blank_emoji_and_unknown_texts_are_the_zero_vector(name):
    encoder = create_encoder("text", name).fit(TEXTS)
    texts = ["", " \n", "😀❤️", "zebra", "bird"]
    features = encoder.encode(texts)
    assert features.dtype == torch.float32
    assert features.shape == (5, encoder.dim)
    assert features.any(dim=1).tolist() == encoder.has_known_tokens(texts) == [False, False, False, False, True]
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_words_outside_latin_are_learned():
    encoder = BagOfWordsEncoder().fit(TEXTS)
    assert {"红", "летит"} <= set(encoder.vocabulary)
    assert encoder.encode(["Летит!"]).sum() == 1


@pytest.mark.parametrize("name", ["bow", "tfidf"])
def test_one_megabyte_of_text(name):
    encoder = create_encoder("text", name).fit(SLIDES)
    start = time.process_time()
    features = encoder.encode(["John likes! " * 90_000])
    assert time.process_time() - start < 10
    assert features.count_nonzero() == 2


@pytest.mark.parametrize("name", ["bow", "tfidf"])
def test_round_trip(name, tmp_path):
    encoder = create_encoder("text", name, max_features=8, min_count=1, binary=True).fit(TEXTS)
    encoder.save_files(tmp_path)
    config = json.loads(json.dumps(encoder.to_dict()))
    again = load_encoder(config, tmp_path)
    assert type(again) is type(encoder)
    assert again.to_dict() == encoder.to_dict()
    assert again.fingerprint == encoder.fingerprint
    assert_alike(again.encode(TEXTS), encoder.encode(TEXTS))


def test_a_vocabulary_names_each_word_once():
    with pytest.raises(InputError, match="twice"):
        BagOfWordsEncoder(vocabulary=["a", "a"])


def test_damaged_weights_are_refused(tmp_path):
    encoder = TfidfEncoder().fit(SLIDES)
    encoder.save_files(tmp_path)
    path = tmp_path / "text_encoder.safetensors"
    whole = path.read_bytes()
    TfidfEncoder().fit(["other words"]).save_files(tmp_path)
    other = path.read_bytes()
    encoder.save_files(tmp_path)
    for content in (b"", whole[:20], other):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="text_encoder"):
            load_encoder(encoder.to_dict(), tmp_path)


def test_weights_of_other_floats(tmp_path):
    encoder = TfidfEncoder().fit(SLIDES)
    encoder.save_files(tmp_path)
    path = tmp_path / "text_encoder.safetensors"
    save_file({"idf": encoder.idf.astype(np.float64)}, path)
    assert_alike(load_encoder(encoder.to_dict(), tmp_path).encode(SLIDES), encoder.encode(SLIDES))
    save_file({"idf": np.zeros_like(encoder.idf)}, path)
    with pytest.raises(CheckpointError, match=r"idf in .*text_encoder.safetensors is zero throughout"):
        load_encoder(encoder.to_dict(), tmp_path)
