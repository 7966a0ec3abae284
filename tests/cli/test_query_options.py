"""What is typed as a query, and what a search is called with."""

import click
import pytest

from cmr_hub.cli.command import Command
from cmr_hub.cli.query_options import min_score_option, query_options
from cmr_hub.errors import InputError


@click.command("look", cls=Command)
@query_options
@min_score_option()
def look(*, query, min_score):
    look.received = (query.arguments(), min_score)


def read(*words):
    look.main(list(words), standalone_mode=False)
    return look.received


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["a", "red", "car"], {"text": {"a red car": 1}}),
        (["a red car", "--image", "dog.jpg"], {"text": {"a red car": 1}, "image": {"dog.jpg": 1}}),
        (["--text", "horse", "stripes", "--without", "snow"], {"text": {"horse": 1, "stripes": 1, "snow": -0.5}}),
        (["--text=a cat", "--item", "7", "--weight", "7=2"], {"text": {"a cat": 1}, "item": {"7": 2}}),
        (["horse", "--without", "snow", "--weight", "snow=-1", "horse=.5"], {"text": {"horse": 0.5, "snow": -1}}),
        (["--text", "a=b", "--weight", "a=b=3"], {"text": {"a=b": 3}}),
        ([], {}),
    ],
)
def test_terms(words, arguments):
    assert read(*words) == (arguments, None)


@pytest.mark.parametrize(("typed", "read_as"), [("0.25", 0.25), ("-1", -1), ("auto", "auto")])
def test_least_scores(typed, read_as):
    assert read("a cat", "--min-score", typed)[1] == read_as


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cat", "--weight", "dog=2"], "weight dog=2 is of no term of the query: cat"),
        (["--weight", "dog=2"], "is of no term of the query: there is none"),
        (["cat", "--text", "cat"], "text 'cat' is in the query twice"),
        (["--text", "cat", "--without", "cat"], "text 'cat' is in the query twice"),
    ],
)
def test_terms_that_contradict(words, message):
    with pytest.raises(InputError, match=message):
        read(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cat", "--weight", "cat"], "TERM=WEIGHT, such as snow=-0.5, not 'cat'"),
        (["cat", "--weight", "=2"], "TERM=WEIGHT"),
        (["cat", "--weight", "cat=heavy"], "TERM=WEIGHT"),
        (["cat", "--min-score", "1.5"], "-1<=x<=1"),
        (["cat", "--min-score", "high"], "high"),
    ],
)
def test_options_that_cannot_be_read(words, message):
    with pytest.raises(click.UsageError, match=message):
        read(*words)
