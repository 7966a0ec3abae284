"""What is said of words that a checkpoint does not know."""

import pytest

from cmr_hub.encoders import create_encoder
from cmr_hub.errors import InputError
from cmr_hub.retrieval.words import check_words, describe_unknown
from tiny_text_models import text_network
from toys import raw_retriever


def colours():
    return create_encoder("text", "bow", vocabulary=["green", "red", "sunglasses"])


def test_near_spellings_are_suggested():
    assert check_words(colours(), "red sunglases") == (
        "No vector for: sunglases (sunglasses?). The query is answered without."
    )
    with pytest.raises(InputError, match=r"no word of 'sunglases' \(no vector for: sunglases \(sunglasses\?\)\)"):
        check_words(colours(), "sunglases")


def test_known_words_are_no_note():
    assert check_words(colours(), "Red, green!") == ""


def test_a_query_of_mostly_unknown_words_is_named_as_such():
    note = check_words(colours(), "red Sonnenbrille auf dem Tisch")
    assert "knows 1 of the 5 words" in note
    assert "No vector for: sonnenbrille, auf, dem and 1 more" in note


@pytest.mark.parametrize("text", ["", "  ", "lunettes de soleil", "一只微笑的猫", "😀"])
def test_a_query_without_a_known_word_is_refused(text):
    with pytest.raises(InputError, match=r"empty|knows no word"):
        check_words(colours(), text)


def test_words_that_a_tokenizer_spells_letter_by_letter_are_unknown(tmp_path):
    folder = text_network(tmp_path / "model")
    letters = ["к", "##о", "##т", "n", "##b", "##a", "9"]
    vocabulary = folder / "vocab.txt"
    (folder / "tokenizer.json").unlink()
    vocabulary.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nred\n##s\n" + "\n".join(letters))
    encoder = create_encoder("text", "transformers", model=str(folder))
    assert encoder.read_words("a Кот, reds") == [("a", True), ("Кот", False), (",", False), ("reds", True)]
    assert encoder.known_share(["a red", "кот red"]) == 0.75
    with pytest.raises(InputError, match="knows no word of 'кот'"):
        check_words(encoder, "кот")


def test_texts_of_another_language_are_a_warning(caplog):
    retriever = raw_retriever()
    retriever.encode_texts(["ein rotes Haus", ["une maison", "rouge"], "red"])
    assert "'bow' knows 14.3 % of the words of these texts, and no word of 3 of 4." in caplog.text
    caplog.clear()
    retriever.encode_texts(["red", "a green"])
    assert not caplog.records


def test_no_texts_are_no_note():
    assert describe_unknown(colours(), []) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [(3, "of type int: give a string"), (b"red", "of type bytes"), ("red \ud83d", "not valid Unicode")],
)
def test_queries_that_are_no_texts(text, message):
    with pytest.raises(InputError, match=message):
        check_words(create_encoder("text", "bow", vocabulary=["red"]), text)
