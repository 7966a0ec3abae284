"""What moves between the place bar and the views, without a browser."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from cmr_hub.errors import CheckpointError
from cmr_hub.space.page import Page
from cmr_hub.space.services.preparation import Preparations
from cmr_hub.space.services.queries import Asked, Query


@pytest.fixture
def page(catalogue: Any) -> Page:
    with gr.Blocks(analytics_enabled=False):
        return Page(catalogue, Preparations(lambda name: []))


def arrive(page: Page, **parameters: str) -> dict[Any, Any]:
    return page.arrive(SimpleNamespace(query_params=parameters))


def test_opens_on_a_question_of_the_gallery(page: Page):
    updates = arrive(page)
    assert updates[page.session_state.asked] == Asked(Query("text", "a red apple"), "image", 3)
    assert updates[page.session_state.method].value == "cca"
    assert "cmr-hit" in updates[page.views["search"].results]
    assert not updates[page.notice].visible


def test_link_opens_its_answer(page: Page):
    updates = arrive(page, gallery="small", model="cca", item="apple", target="text", k="2")
    assert updates[page.session_state.asked] == Asked(Query("item", "apple"), "text", 2)
    assert updates[page.views["search"].k].value == 2


def test_model_that_is_not_there_gives_way_to_the_first(page: Page):
    assert arrive(page, gallery="small", model="nonsense")[page.session_state.method].value == "cca"


def test_link_to_no_gallery_says_so_and_opens_the_default_one(page: Page):
    updates = arrive(page, gallery="smal<l", item="nobody")
    assert "no gallery named &#39;smal&lt;l&#39;" in updates[page.notice].value
    assert updates[page.session_state.gallery].value == "small"
    assert updates[page.session_state.asked].query == Query("text", "a red apple")


def test_view_of_a_link_is_opened(page: Page):
    assert arrive(page, view="map")[page.session_state.shown] == "map"
    assert arrive(page, view="map")[page.session_state.tabs].selected == "map"
    assert arrive(page, view="nowhere")[page.session_state.shown] == "search"


def test_tab_that_the_model_has_nothing_for_is_hidden(page: Page):
    assert "#cmr-tab-look-button" in arrive(page)[page.style]
    updates = page.open("small", "cca", None, "look", None)
    assert updates[page.session_state.shown] == "search"
    assert updates[page.session_state.tabs].selected == "search"


def test_another_gallery_asks_its_own_question(page: Page):
    asked = Asked(Query("text", "green"), "image", 2)
    updates = page.on_gallery("small", "cca", asked, "search", None)
    assert updates[page.session_state.asked].query == Query("text", "a red apple")


def test_own_gallery_that_is_gone_gives_way_to_the_default_one(page: Page):
    updates = page.open("own-gone", "cca", None, "search", "own-gone")
    assert "no longer on this server" in updates[page.notice].value
    assert updates[page.session_state.gallery].value == "small"
    assert [name for _, name in updates[page.session_state.gallery].choices] == ["small"]


def test_another_model_answers_the_same_question(page: Page):
    asked = Asked(Query("text", "green"), "image", 2)
    assert page.open("small", "cca", asked, "search", None)[page.session_state.asked] == asked


def test_damaged_gallery_is_a_notice(page: Page, monkeypatch: pytest.MonkeyPatch):
    def damaged(*where: str) -> None:
        raise CheckpointError("items-00000.parquet is truncated <b>")

    monkeypatch.setattr(page.catalogue, "open", damaged)
    updates = page.open("small", "cca", None, "search", None)
    assert "truncated &lt;b&gt;" in updates[page.notice].value
    assert "#cmr-tab-search {" in updates[page.style]
