"""The answers of several models side by side, without a browser."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from cmr_hub.errors import UnknownNameError
from cmr_hub.space.components.session_state import SessionState
from cmr_hub.space.services.model_kinds import of_different_kinds
from cmr_hub.space.services.queries import Asked, Query
from cmr_hub.space.views.compare import CompareView
from small_space import bundled_catalogue

CAT = Asked(Query("text", "a smiling cat"), "image", 12, "Flags")
DOG = Asked(Query("item", "1F436"), "image")
EMOJI, SMALL = ("emoji", "dscmr"), ("small", "cca")


def make_view(catalogue: Any) -> CompareView:
    with gr.Blocks(analytics_enabled=False):
        return CompareView(catalogue, SessionState.lay_out(catalogue))


@pytest.fixture(scope="module")
def emoji() -> CompareView:
    return make_view(bundled_catalogue(["emoji"]))


@pytest.fixture
def small(catalogue: Any) -> CompareView:
    return make_view(catalogue)


def columns(html: str) -> dict[str, list[str]]:
    """Title of a column -> the ids of its hits."""
    parts = re.findall(r'<section class="cmr-column" aria-label="([^"]+)">(.*?)</section>', html, re.DOTALL)
    return {title: re.findall(r'data-item="([^"]+)"', part) for title, part in parts}


def ask(
    view: CompareView, asked: Asked, *others: str, k: int = 3, session_state: tuple[str, str] = EMOJI
) -> dict[Any, Any]:
    """As the page does it: the view is opened, and reports that it has been."""
    opened = view.open(*session_state, asked)[view.opened]
    view.load(opened, list(others))
    return view.show(asked, opened, list(others), k)


def test_without_a_chosen_model_the_first_one_answers(emoji: CompareView):
    assert emoji._models("emoji", None, []) == emoji._models("emoji", next(iter(emoji.catalogue["emoji"].sources)), [])
    with pytest.raises(UnknownNameError, match="no model of the gallery 'emoji'"):
        emoji._models("emoji", "nobody", [])


def test_the_models_that_stand_side_by_side_differ_in_kind():
    bundled = bundled_catalogue(["emoji"])["emoji"].sources
    sources = {method: bundled[method] for method in bundled if method != "unified"}
    assert of_different_kinds(sources, "cca") == ["cca", "dscmr", "dscmr_hash"]
    assert of_different_kinds(sources, "dcmh") == ["dcmh", "dscmr", "contrastive"]
    assert of_different_kinds({key: sources[key] for key in ("cca", "dcca")}, "dcca") == ["dcca", "cca"]


@pytest.mark.slow
def test_each_column_is_what_a_search_by_that_model_finds(emoji: CompareView):
    update = ask(emoji, CAT, "dcmh", "cca")
    found = columns(update[emoji.columns])
    for title, method in (("DSCMR", "dscmr"), ("DCMH", "dcmh"), ("CCA", "cca")):
        hits = emoji.catalogue.open("emoji", method).search(text="a smiling cat", target="image", k=3)
        assert found[title] == [hit.id for hit in hits]
    assert update[emoji.others]["value"] == ["dcmh", "cca"]
    assert "AP <b>" not in update[emoji.columns]


@pytest.mark.slow
def test_hits_of_an_item_are_marked_right_or_wrong_in_words(emoji: CompareView):
    html = ask(emoji, DOG, "cvh", k=20)[emoji.columns]
    for title, method in (("DSCMR", "dscmr"), ("CVH", "cvh")):
        hits = emoji.catalogue.open("emoji", method).search(item="1F436", target="image", k=20)
        part = html.split(f'aria-label="{title}"')[1].split("</section>")[0]
        marks = re.findall(r'aria-label="(same class|another class)"', part)
        assert marks == ["same class" if hit.same_class else "another class" for hit in hits]
        assert f"<b>{sum(hit.same_class for hit in hits)} of 20</b> right" in part
        assert re.search(r"AP <b>0\.\d{3}</b>", part)
    assert "another class" in html


@pytest.mark.slow
def test_a_question_of_another_view_keeps_what_that_view_shows(emoji: CompareView):
    update = ask(emoji, CAT)
    assert emoji.session_state.asked not in update
    assert update[emoji.k].value == 3
    assert emoji.open(*EMOJI, CAT)[emoji.text] == "a smiling cat"
    clicked = emoji.on_click(SimpleNamespace(item="1F436", model=None), CAT, [], "text", 3, 0.5, *EMOJI)
    assert clicked[emoji.session_state.asked] == Asked(Query("item", "1F436"), "text", 12, "Flags")
    assert clicked[emoji.text] == ""


@pytest.mark.slow
def test_surprises_differ_from_click_to_click_and_come_round(emoji: CompareView):
    asked, seen = CAT, []
    for _ in range(26):
        asked = emoji.on_surprise(asked, ["cca"], "image", 3, 0.5, *EMOJI)[emoji.session_state.asked]
        seen.append(asked.query.value)
    assert len(set(seen)) == 24
    assert seen[24:] == seen[:2]


def test_nothing_is_surprising_among_the_like(small: CompareView):
    update = small.on_surprise(None, [], "image", 3, 0.5, *SMALL)
    assert "find the same" in update[small.columns]


def test_a_page_that_only_loads_asks_nothing(small: CompareView):
    small.load(None, [])
    assert small.show(None, None, [], 3) == gr.skip()


def test_one_model_alone_has_nobody_beside_it(small: CompareView):
    update = ask(small, Asked(Query("item", "apple"), "image"), "dscmr", k=9, session_state=SMALL)
    assert list(columns(update[small.columns])) == ["CCA"]
    assert update[small.others]["visible"] is False
    assert update[small.surprise].visible is False
    assert (update[small.k].maximum, update[small.k].value) == (3, 3)


def test_ids_texts_and_classes_are_escaped(small: CompareView):
    html = ask(small, Asked(Query("text", "<i>red</i>"), "text"), session_state=SMALL)[small.columns]
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert 'data-item="dog&#34;&gt;&lt;i&gt;"' in html
    assert not re.search(r"<b>bold|<i>red", html)


def test_what_no_model_answers_is_said_once_and_not_repeated(small: CompareView):
    update = small.on_text("  ", None, [], "image", 3, 0.5, *SMALL)
    assert update[small.columns].count('role="alert"') == 1
    assert update[small.session_state.asked] is None
    assert small.again(None, [], "image", 3, 0.5, *SMALL) == gr.skip()


@pytest.mark.slow
def test_who_has_no_answer_says_so_in_its_column(emoji: CompareView, monkeypatch: pytest.MonkeyPatch):
    encoder = emoji.catalogue.open("emoji", "cca").retriever.processor.text_encoder
    monkeypatch.setattr(encoder, "has_known_tokens", lambda texts: [False] * len(texts))
    update = ask(emoji, CAT, "cca")
    found = columns(update[emoji.columns])
    assert len(found["DSCMR"]) == 3
    assert found["CCA"] == []
    assert "knows no word" in update[emoji.columns]


def test_a_model_is_taken_along_to_the_search(small: CompareView):
    update = small.on_click(SimpleNamespace(item=None, model="dcmh"), None, [], "image", 3, 0.5, *SMALL)
    assert update[small.session_state.method] == "dcmh"
    assert update[small.session_state.shown] == "search"


def test_the_focus_is_for_the_models_that_have_two_parts(parts_catalogue: Any, small: CompareView):
    view = make_view(parts_catalogue)
    asked = Asked(Query("item", "item 3"), "image", 3)
    update = view.again(asked, [], "image", 3, 0.0, *SMALL)
    assert update[view.session_state.asked].focus == 0
    assert (update[view.focus].visible, update[view.focus].value) == (True, 0)
    found = columns(update[view.columns])["CCA"]
    assert found == [hit.id for hit in parts_catalogue.gallery.search(item="item 3", k=3, focus=0)]
    without = small.again(Asked(Query("text", "red"), "image", 3), [], "image", 3, 0.0, *SMALL)
    assert without[small.session_state.asked].focus is None
    assert without[small.focus].visible is False
    assert len(columns(without[small.columns])["CCA"]) == 3
