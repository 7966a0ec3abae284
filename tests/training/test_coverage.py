"""What is said before training of words that the text encoder does not know."""

import logging

import pytest
from datasets import Dataset

from cmr_hub.encoders import create_encoder
from cmr_hub.training.coverage import MAX_TEXTS, report_coverage

ENGLISH = ["a dog runs on the beach", "two children play in the grass", "a man climbs a cliff"]
CHINESE = ["一只狗在沙滩上奔跑", "两个孩子在草地上玩耍", "一个男人在攀岩"]
GERMAN = ["ein Hund rennt am Strand", "zwei Kinder spielen im Gras", "eine lächelnde Katze klettert auf eine Felswand"]


def texts(*given):
    return Dataset.from_dict({"texts": [[text] for text in given]})


@pytest.fixture(autouse=True)
def logged(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def warnings(logged):
    return [record.message for record in logged.records if record.levelno == logging.WARNING]


def test_known_words_are_told_and_no_warning(logged):
    assert report_coverage(create_encoder("text", "glove"), texts(*ENGLISH)) == 1
    assert "glove knows 100.0 % of the words of the training texts." in logged.text
    assert not warnings(logged)


@pytest.mark.parametrize("given", [CHINESE, GERMAN])
def test_texts_in_another_language_are_a_warning_that_names_encoders(logged, given):
    assert report_coverage(create_encoder("text", "glove"), texts(*given)) < 0.9
    (message,) = warnings(logged)
    assert "'glove' has no vector for" in message
    assert "--text-encoder tfidf, bow or word2vec" in message
    assert "multilingual" in message


def test_each_occurrence_counts(logged):
    encoder = create_encoder("text", "bow", vocabulary=["red"])
    assert report_coverage(encoder, texts("red red", "red blue")) == 0.75


def test_a_vocabulary_that_was_cut_on_purpose_is_no_warning(logged):
    encoder = create_encoder("text", "tfidf", max_features=1).fit(ENGLISH)
    assert report_coverage(encoder, texts(*ENGLISH)) < 0.95
    assert not warnings(logged)


def test_released_features_have_no_words(logged):
    encoder = create_encoder("text", "precomputed", dim=2)
    assert report_coverage(encoder, Dataset.from_dict({"text_features": [[0.5, 1.0]]})) == 1
    assert not logged.records


def test_of_many_texts_a_sample_is_read(monkeypatch):
    encoder = create_encoder("text", "bow", vocabulary=["red"])
    asked = []
    monkeypatch.setattr(encoder, "known_share", lambda texts: asked.extend(texts) or 1.0)
    report_coverage(encoder, texts(*["red"] * (2 * MAX_TEXTS + 1)))
    assert MAX_TEXTS / 2 < len(asked) <= MAX_TEXTS
