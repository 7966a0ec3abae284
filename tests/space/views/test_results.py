from __future__ import annotations

import gradio as gr
import pytest

from cmr_hub.results import Reproduction
from cmr_hub.space.components.session_state import SessionState
from cmr_hub.space.views import results as results_module
from cmr_hub.space.views.results import ResultsView
from small_results import CLEAN, CODES, PAPER, small_results, small_row


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[Reproduction]:
    """What was measured: on emoji one method by instance, too, and on Wikipedia as `small_results` has it."""
    emoji = small_results("emoji", [small_row("dscmr", 0.7, protocols=(CLEAN, "instance"))])
    known = [emoji, small_results()]
    monkeypatch.setattr(results_module, "list_results", lambda: known)
    return known


@pytest.fixture
def view(catalogue, known: list) -> ResultsView:
    """On a gallery of Wikipedia's."""
    with gr.Blocks():
        session_state = SessionState.lay_out(catalogue)
        session_state.tabs.render()
        return ResultsView(catalogue, session_state)


def test_opens_on_the_data_set_of_the_gallery(view: ResultsView):
    updates = view.open("small", "cca", None)
    assert set(updates) <= set(view.page)
    assert updates[view.dataset].choices == [("Emoji", "emoji"), ("Wikipedia", "wiki")]
    assert updates[view.dataset].value == "wiki"
    assert updates[view.protocol].value == CLEAN
    assert [name for name, _ in updates[view.protocol].choices] == [CLEAN, PAPER, CODES]
    assert "of Wikipedia, protocol dscmr" in updates[view.tables]


def test_a_gallery_without_results_opens_on_the_first_that_there_are(view: ResultsView, known: list):
    known.pop()
    assert view.open("small", None, None)[view.dataset].value == "emoji"


def test_another_data_set_keeps_the_protocol_where_it_has_it(view: ResultsView):
    assert view.on_choice("emoji", CLEAN)[view.protocol].value == CLEAN
    assert view.on_choice("emoji", "instance")[view.protocol].value == "instance"
    assert view.on_choice("wiki", "instance")[view.protocol].value == CLEAN


def test_charts_are_of_what_the_protocol_measured(view: ResultsView):
    floats = view.on_choice("wiki", PAPER)
    assert (floats[view.floats].visible, floats[view.codes].visible) == (True, False)
    codes = view.on_choice("wiki", CODES)
    assert (codes[view.floats].visible, codes[view.codes].visible) == (False, True)
    assert "chosen on the test split.</b>" in floats[view.counted]
    assert "chosen on the test split.</b>" not in codes[view.counted]


def test_where_nothing_was_measured_it_says_what_to_do(view: ResultsView, known: list):
    known.clear()
    updates = view.open("small", "cca", None)
    assert "cmr reproduce" in updates[view.counted]
    assert not any(updates[each].visible for each in view.page if each is not view.counted)
