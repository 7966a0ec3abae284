"""How the arguments of a search become queries of weighted terms."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cmr_hub
from cmr_hub.errors import InputError
from cmr_hub.retrieval.queries import Query, Term, read_queries


def terms(query):
    return [(term.kind, term.value, term.weight) for term in query.terms]


def test_what_is_given_together_is_one_query():
    query = read_queries(text="in the snow", image="dog.jpg", item="7")
    assert terms(query) == [("text", "in the snow", 1), ("image", "dog.jpg", 1), ("item", "7", 1)]
    assert query.is_combined


def test_a_mapping_weighs_several_terms_of_one_query():
    query = read_queries(text={"horse": 1, "snow": -0.5}, image={Path("a.jpg"): 2}, item={"7": 0.25}, source="text")
    assert terms(query) == [
        ("text", "horse", 1),
        ("text", "snow", -0.5),
        ("image", Path("a.jpg"), 2),
        ("item", "7", 0.25),
    ]
    assert [term.source for term in query.terms] == [None, None, None, "text"]


@pytest.mark.parametrize("cell", [{"bytes": b"x", "path": None}, {"path": "dog.jpg"}, {"bytes": b"x"}])
def test_an_image_as_data_sets_store_it_is_one_image(cell):
    assert terms(read_queries(image=cell)) == [("image", cell, 1)]


def test_a_list_is_several_queries_and_a_single_value_belongs_to_each():
    queries = read_queries(text=["red", {"blue": 2}], image="dog.jpg")
    assert [terms(query) for query in queries] == [
        [("text", "red", 1), ("image", "dog.jpg", 1)],
        [("text", "blue", 2), ("image", "dog.jpg", 1)],
    ]


def test_lists_go_together_one_by_one():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    first, second = read_queries(text=iter(["red", "blue"]), image=images)
    assert (first.values("text"), second.values("text")) == (["red"], ["blue"])
    assert second.values("image")[0].shape == (4, 4, 3)


def test_queries_are_taken_as_they_are():
    query = cmr_hub.Query([cmr_hub.Term(image=Image.new("RGB", (2, 2))), Term(text="snow", weight=-0.5)])
    assert read_queries(query) is query
    assert read_queries([query, query]) == [query, query]
    assert read_queries(Term(text="snow")) == Query([Term(text="snow")])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Give a query: text=…, image=… or item=…"),
        ({"text": {}}, "text={} has no term"),
        ({"text": {"snow": -1, "ice": -0.5}}, "No term of the query has a weight above 0"),
        ({"text": {"snow": 0}}, "No term of the query has a weight above 0"),
        ({"text": {"snow": float("nan")}}, "finite number.*not nan. It is that of the text 'snow'"),
        ({"text": {"snow": float("inf"), "a": 1}}, "not inf"),
        ({"text": {"snow": "1"}}, "not '1'"),
        ({"text": {"snow": True}}, "not True"),
        ({"image": {"dog.jpg": "1"}}, "not '1'. It is that of the image 'dog.jpg'"),
        ({"text": ["a", "b"], "image": ["c"]}, "not as many: 2 of text= and 1 of image=.*text={'horse': 1"),
        ({"text": ["a", {"b": -1}]}, "Query 2 of 2: No term"),
        ({"text": ["a", None]}, "Query 2 of 2: A term of a query is exactly one"),
        ({"item": "7", "source": "sound"}, "source is 'image' or 'text', not 'sound'"),
        ({"query": "a dog"}, "text=….* by name, not str 'a dog'"),
        ({"query": ["a dog"]}, "not list"),
        ({"query": Query([Term(text="a")]), "text": "b"}, "Give a Query alone"),
    ],
)
def test_what_is_no_query(given, message):
    with pytest.raises(InputError, match=message):
        read_queries(**given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Term(), "exactly one of text"),
        (lambda: Term(text="a", item="b"), "exactly one of text"),
        (lambda: Query([]), "Give a query"),
        (lambda: Query(["snow"]), "made of terms, such as Term.*not of 'snow'"),
    ],
)
def test_what_is_no_term(make, message):
    with pytest.raises(InputError, match=message):
        make()
