"""Term counts and TF-IDF."""

import json
import time

import numpy as np
import pytest
import torch

from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.encoders.bag_of_words import BagOfWordsEncoder, TfidfEncoder
from cmr_hub.encoders.tokenise import tokenise
from cmr_hub.errors import CheckpointError, InputError, NotFittedError

SLIDES = ["John likes to watch movies. Mary likes too.", "John also likes to watch football games."]
TEXTS = [*SLIDES, "红色的鸟 летит", "a red bird, a blue bird", ""]


def test_the_slides_example():
    words = ["john", "likes", "to", "watch", "movies", "also", "football", "games", "mary", "too"]
    encoder = BagOfWordsEncoder(vocabulary=words)
    assert encoder.encode(SLIDES).tolist() == [[1, 2, 1, 1, 1, 0, 0, 0, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1, 0, 0]]
    assert set(BagOfWordsEncoder().fit(SLIDES).vocabulary) == set(words)


def test_options():
    assert BagOfWordsEncoder(max_features=3).fit(SLIDES).vocabulary == ["john", "likes", "to"]
    assert BagOfWordsEncoder(min_count=3).fit(SLIDES).vocabulary == ["likes"]
    assert BagOfWordsEncoder(binary=True).fit(SLIDES).encode(["likes likes"]).max() == 1
    for options in ({"max_features": 0}, {"min_count": 0}):
        with pytest.raises(InputError, match="1 or more"):
            BagOfWordsEncoder(**options)


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
    assert features.any(dim=1).tolist() == encoder.knows(texts) == [False, False, False, False, True]
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
    assert torch.equal(again.encode(TEXTS), encoder.encode(TEXTS))


def test_the_fingerprint_tells_vocabularies_apart():
    encoders = [BagOfWordsEncoder().fit(texts) for texts in (["a b"], ["a c"])]
    assert encoders[0].fingerprint != encoders[1].fingerprint


@pytest.mark.parametrize("name", ["bow", "tfidf"])
def test_use_before_fit(name):
    encoder = create_encoder("text", name)
    for use in (lambda: encoder.encode(["a"]), lambda: encoder.dim, lambda: encoder.knows(["a"])):
        with pytest.raises(NotFittedError, match="fit"):
            use()


@pytest.mark.parametrize("texts", [[], [""], ["😀", "!"]])
def test_fitting_on_nothing(texts):
    with pytest.raises(InputError, match="no word"):
        BagOfWordsEncoder().fit(texts)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], r"text 2 of 2: .*NoneType"),
        (["a", "b", 3.5], r"text 3 of 3: .*float"),
        ("a text alone", "one text"),
        (["a", "\ud800"], r"text 2 of 2: .*Unicode"),
    ],
)
def test_what_is_no_text_is_named_by_position(texts, message):
    encoder = BagOfWordsEncoder().fit(SLIDES)
    for use in (encoder.encode, encoder.knows, encoder.fit):
        with pytest.raises(InputError, match=message):
            use(texts)


def test_a_vocabulary_names_each_word_once():
    with pytest.raises(InputError, match="twice"):
        BagOfWordsEncoder(vocabulary=["a", "a"])


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1, 2]", '["a", "a"]', None])
def test_a_damaged_vocabulary_is_refused(tmp_path, content):
    encoder = BagOfWordsEncoder().fit(SLIDES)
    encoder.save_files(tmp_path)
    path = tmp_path / "text_vocabulary.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(CheckpointError, match="text_vocabulary"):
        load_encoder(encoder.to_dict(), tmp_path)


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
