"""The search view's answers, without a browser."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest

from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.queries import Term
from cmr_hub.space.components.session_state import SessionState
from cmr_hub.space.services.examples import first_question
from cmr_hub.space.services.queries import Asked, Query
from cmr_hub.space.views.search import SearchView
from small_space import OneGallery

LABEL = ""
WHERE = (LABEL, 3, 0.5, "", False, "small", "cca")


@pytest.fixture
def view(catalogue: Any) -> SearchView:
    with gr.Blocks(analytics_enabled=False):
        return SearchView(catalogue, SessionState.lay_out(catalogue))


@pytest.fixture
def features_view(features_catalogue: Any) -> SearchView:
    with gr.Blocks(analytics_enabled=False):
        return SearchView(features_catalogue, SessionState.lay_out(features_catalogue))


def value(update: Any) -> Any:
    """What an update, or a component that stands for one, sets the value to."""
    return update["value"] if isinstance(update, dict) else getattr(update, "value", update)


def test_kind_of_query_decides_what_is_shown_until_told_otherwise(view: SearchView, image_file: Any, received: Any):
    path = received(image_file)
    first = view.on_image({"path": path}, None, "image", *WHERE)
    assert value(first[view.target]) == "text"
    same_kind = view.on_image({"path": path}, first[view.session_state.asked], "image", *WHERE)
    assert value(same_kind[view.target]) == "image"
    text = view.on_text("red", None, first[view.session_state.asked], "text", *WHERE)
    assert value(text[view.target]) == "image"
    assert text[view.image] is None


def test_image_is_searched_again_where_no_text_is_typed(view: SearchView, image_file: Any, received: Any):
    path = received(image_file)
    update = view.on_text(" ", {"path": path}, None, "text", *WHERE)
    assert update[view.session_state.asked].query == Query("image", path)


def test_words_next_to_an_image_are_one_query(view: SearchView, image_file: Any, received: Any):
    path = received(image_file)
    first = view.on_image({"path": path}, None, "image", *WHERE)
    update = view.on_text("red", {"path": path}, first[view.session_state.asked], "text", *WHERE)
    asked = update[view.session_state.asked]
    assert asked.query == Query("image", path, more=(Term(text="red"),))
    assert (value(update[view.target]), update[view.text]) == ("image", "red")
    assert "Your image + “red”" in update[view.results]
    assert view.image not in update


def test_words_that_hits_are_unlike_belong_to_every_query(view: SearchView, gallery: Gallery):
    where = (LABEL, 3, 0.5, "green", False, "small", "cca")
    update = view.on_text("red", None, None, "image", *where)
    asked = update[view.session_state.asked]
    assert (asked.query.without, update[view.without], update[view.text]) == ("green", "green", "red")
    assert "“red” - “green”" in update[view.results]
    found = re.findall(r'data-item="([^"]+)"', update[view.results])
    expected = gallery.search(text={"red": 1, "green": -0.5}, k=3)
    assert found == [html.escape(hit.id) for hit in expected]
    anew = view.again(asked, "image", *WHERE)  # the field was emptied
    assert anew[view.session_state.asked].query == Query("text", "red")
    twice = view.on_text("red", None, None, "image", LABEL, 3, 0.5, "red", False, "small", "cca")
    assert "in the query twice" in twice[view.results]


def test_chance_finds_are_hidden_on_request(view: SearchView, gallery: Gallery):
    update = view.on_text("red", None, None, "image", LABEL, 3, 0.5, "", True, "small", "cca")
    assert update[view.hides_chance] is True
    hits = gallery.search(text="red", k=3, min_score="auto")
    assert len(hits) < 3
    assert len(re.findall("data-item=", update[view.results])) == len(hits)
    assert "above chance" in update[view.results]


def test_side_of_an_item_follows_what_is_shown_until_it_is_chosen(view: SearchView):
    asked = Asked(Query("item", "apple"), "image", 3)
    assert value(view.again(asked, "image", *WHERE)[view.modality]) == "text"
    assert value(view.again(asked, "text", *WHERE)[view.modality]) == "image"
    chosen = view.on_modality("image", asked, "image", *WHERE)
    assert chosen[view.session_state.asked].query == Query("item", "apple", "image")
    assert value(chosen[view.modality]) == "image"


def test_refused_query_is_not_repeated(view: SearchView, no_image: Any):
    update = view.on_image({"path": str(no_image)}, None, "text", *WHERE)
    assert update[view.session_state.asked] is None
    assert update[view.image] is None
    assert "broken.png" in update[view.results]
    assert view.again(None, "text", *WHERE) == gr.skip()


def test_image_that_is_taken_away_asks_nothing(view: SearchView):
    assert view.on_image(None, None, "text", *WHERE) == gr.skip()


def test_number_of_hits_follows_the_gallery(view: SearchView):
    update = view.open("small", "cca", Asked(Query("text", "red"), "image", 3))
    assert (update[view.k].maximum, update[view.k].value) == (3, 3)


def test_gallery_of_two_can_be_opened(gallery: Any):
    rows = [0, 1]
    embeds = (gallery.embeds[modality][rows] for modality in ("image", "text"))
    catalogue = OneGallery(Gallery(gallery.dataset.select(rows), gallery.retriever, *embeds))
    with gr.Blocks(analytics_enabled=False):
        view = SearchView(catalogue, SessionState.lay_out(catalogue))
    update = view.open("small", "cca", first_question(catalogue.gallery))
    assert not update[view.k].visible
    assert "The nearest image of 2" in update[view.results]


def test_class_confines_the_hits(view: SearchView):
    asked = Asked(Query("text", "red"), "image", 3)
    assert ("fruit", "fruit") in view.open("small", "cca", asked)[view.label].choices
    update = view.again(asked, "image", "animal", 3, 0.5, "", False, "small", "cca")
    assert update[view.session_state.asked].label == "animal"
    assert "2 nearest images of class animal" in update[view.results]
    assert "fruit" not in update[view.results]


def test_released_features_start_from_an_item(features_view: SearchView, features_gallery: Any):
    update = features_view.open("small", "cca", first_question(features_gallery))
    assert update[features_view.session_state.asked].query.kind == "item"
    assert update[features_view.typing]["visible"] is False
    assert update[features_view.dropping]["visible"] is False
    assert "neither words nor images" in update[features_view.about]
    assert 'class="cmr-hit"' in update[features_view.results]


def test_text_to_released_features_is_refused_readably(features_view: SearchView):
    update = features_view.on_text("red", None, None, "image", *WHERE)
    assert 'role="alert"' in update[features_view.results]


@pytest.fixture
def parts_view(parts_catalogue: Any) -> SearchView:
    with gr.Blocks(analytics_enabled=False):
        return SearchView(parts_catalogue, SessionState.lay_out(parts_catalogue))


def test_the_focus_is_a_slider_where_embeddings_have_two_parts(parts_view: SearchView, view: SearchView):
    item = Asked(Query("item", "item 3"), "image", 4)
    shown = parts_view.open("small", "cca", item)[parts_view.focus]
    assert (shown.visible, shown.value) == (True, 0.5)
    assert parts_view.open("small", "cca", replace(item, focus=0.25))[parts_view.focus].value == 0.25
    hidden = view.open("small", "cca", Asked(Query("text", "red"), "image", 3, focus=0.25))
    assert hidden[view.focus].visible is False
    assert hidden[view.session_state.asked].focus is None


def test_another_focus_answers_the_same_question_anew(parts_view: SearchView, parts_gallery: Gallery):
    item = Asked(Query("item", "item 3"), "image", 4)
    found = []
    for focus in (0, 1):
        update = parts_view.again(item, "image", "", 4, focus, "", False, "small", "cca")
        assert update[parts_view.session_state.asked].focus == focus
        assert f"at focus {focus}" in update[parts_view.results]
        found.append(re.findall(r'data-item="([^"]+)"', update[parts_view.results]))
        assert found[-1] == [hit.id for hit in parts_gallery.search(item="item 3", k=4, focus=focus)]
    assert found[0] != found[1]
    default = parts_view.again(item, "image", "", 4, 0.5, "", False, "small", "cca")
    assert default[parts_view.session_state.asked].focus is None
    assert "at focus" not in default[parts_view.results]


@pytest.mark.parametrize("focus", [-1, 2, float("nan"), "a"])
def test_a_focus_that_no_slider_has_is_refused_readably(parts_view: SearchView, focus: Any):
    asked = Asked(Query("item", "item 3"), "image", 4)
    update = parts_view.again(asked, "image", "", 4, focus, "", False, "small", "cca")
    assert update[parts_view.session_state.asked] is None
    assert "focus must be a number from 0" in update[parts_view.results]
