"""What every encoder with a vocabulary learns, refuses, saves and reads back."""

import pytest

from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.errors import CheckpointError, InputError, NotFittedError

TEXTS = ["John likes to watch movies. Mary likes too.", "John also likes to watch football games."]
NAMES = ["bow", "tfidf", "tokens"]

pytestmark = pytest.mark.parametrize("name", NAMES)


def test_which_words_are_kept(name):
    assert create_encoder("text", name, max_features=3).fit(TEXTS).vocabulary == ["john", "likes", "to"]
    assert create_encoder("text", name, min_count=3).fit(TEXTS).vocabulary == ["likes"]
    for options in ({"max_features": 0}, {"min_count": 0}):
        with pytest.raises(InputError, match="1 or more"):
            create_encoder("text", name, **options)


def test_known_texts(name):
    encoder = create_encoder("text", name).fit(TEXTS)
    assert encoder.has_known_tokens(["Movies!", "", "zebra", "a zebra likes", "😀"]) == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_the_fingerprint_tells_vocabularies_apart(name):
    first, second = (create_encoder("text", name).fit(texts) for texts in (["a b"], ["a c"]))
    assert first.fingerprint != second.fingerprint


def test_use_before_fit(name):
    encoder = create_encoder("text", name)
    for use in (lambda: encoder.encode(["a"]), lambda: encoder.dim, lambda: encoder.has_known_tokens(["a"])):
        with pytest.raises(NotFittedError, match="fit"):
            use()


@pytest.mark.parametrize("texts", [[], [""], ["😀", "!"]])
def test_fitting_on_nothing(name, texts):
    with pytest.raises(InputError, match="no word"):
        create_encoder("text", name).fit(texts)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], r"text 2 of 2: .*NoneType"),
        (["a", "b", 3.5], r"text 3 of 3: .*float"),
        ("a text alone", "one text"),
        (["a", "\ud800"], r"text 2 of 2: .*Unicode"),
    ],
)
def test_what_is_no_text_is_named_by_position(name, texts, message):
    encoder = create_encoder("text", name).fit(TEXTS)
    for use in (encoder.encode, encoder.has_known_tokens, encoder.fit):
        with pytest.raises(InputError, match=message):
            use(texts)


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1, 2]", '["a", "a"]', None])
def test_a_damaged_vocabulary_is_refused(name, tmp_path, content):
    encoder = create_encoder("text", name).fit(TEXTS)
    encoder.save_files(tmp_path)
    path = tmp_path / "text_vocabulary.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(CheckpointError, match="text_vocabulary"):
        load_encoder(encoder.to_dict(), tmp_path)


def test_a_description_without_an_option_is_refused(name, tmp_path):
    encoder = create_encoder("text", name).fit(TEXTS)
    encoder.save_files(tmp_path)
    config = encoder.to_dict()
    del config["min_count"]
    with pytest.raises(CheckpointError, match="min_count"):
        load_encoder(config, tmp_path)
