from __future__ import annotations

from dataclasses import replace

import gradio as gr
import pytest

from cmr_hub.errors import InputError
from cmr_hub.evaluation import EvaluationResult, get_protocol
from cmr_hub.space.components.session_state import SessionState
from cmr_hub.space.views import scores as scores_module
from cmr_hub.space.views.scores import EVERYWHERE, Curved, ScoresView
from html_tables import rows
from scored import score

CURVE = {"recall": [0.0, 1.0], "precision": [1.0, 0.5]}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """What is measured for curves; the checkpoints are made up, on Wikipedia and on emoji."""
    asked = []

    def measure(checkpoint: str, dataset: str, protocol: str) -> EvaluationResult:
        asked.append((checkpoint, dataset, protocol))
        curves = {"image_to_text": CURVE, "text_to_image": CURVE}
        return EvaluationResult(get_protocol(protocol), {"map": 0.5}, "cosine", {}, {}, curves)

    known = [
        *(score("a", mean=0.3), score("a", "instance", 0.1)),
        *(score("b", mean=0.4), score("b", "dcmh", 0.6)),
        *(score("c", mean=0.2), score("far", mean=0.9, dataset="rsicd")),
        score("d", mean=0.7, dataset="emoji", bits=64),
    ]
    monkeypatch.setattr(scores_module, "known_scores", lambda: known)
    monkeypatch.setattr(scores_module, "is_quick", lambda checkpoint, dataset: dataset != "rsicd")
    monkeypatch.setattr(scores_module, "measure_curves", measure)
    return asked


@pytest.fixture
def view(catalogue, measured: list) -> ScoresView:
    """On a gallery of Wikipedia's."""
    with gr.Blocks():
        session_state = SessionState.lay_out(catalogue)
        session_state.tabs.render()
        return ScoresView(catalogue, session_state)


def test_opens_on_the_data_set_of_the_gallery(view: ScoresView):
    updates = view.open("small", "cca", None)
    assert set(updates) <= set(view.page)
    assert updates[view.dataset].value == "wiki"
    assert [value for _, value in updates[view.dataset].choices] == ["wiki", "rsicd", "emoji", EVERYWHERE]
    assert updates[view.protocol].choices == [(name, name) for name in ("dscmr", "dcmh", "instance")]
    assert updates[view.protocol].value == "dscmr"
    assert "mAP of 3 checkpoints on the test split of Wikipedia" in updates[view.board]


def test_curves_start_with_the_best_and_the_model_of_the_place_bar(view: ScoresView, catalogue, monkeypatch):
    assert view.open("small", "cca", None)[view.checkpoints].value == ["me/b", "me/a"]
    source = catalogue["small"].sources["cca"]
    monkeypatch.setitem(catalogue["small"].sources, "cca", replace(source, checkpoint="me/c"))
    assert view.open("small", "cca", None)[view.checkpoints].value == ["me/c", "me/b"]


def test_a_gallery_without_scores_opens_on_all(view: ScoresView, monkeypatch: pytest.MonkeyPatch):
    elsewhere = [score("d", mean=0.7, dataset="emoji"), score("e", dataset="rsicd")]
    monkeypatch.setattr(scores_module, "known_scores", lambda: elsewhere)
    updates = view.open("small", None, None)
    assert updates[view.dataset].value == EVERYWHERE
    assert "of each one&#39;s data set, protocol dscmr" in updates[view.board]


def test_another_data_set_keeps_the_protocol_where_it_has_it(view: ScoresView):
    assert view.on_dataset("wiki", "dcmh")[view.protocol].value == "dcmh"
    assert view.on_dataset("emoji", "dcmh")[view.protocol].value == "dscmr"
    everywhere = view.on_dataset(EVERYWHERE, "dscmr")
    assert "mAP of 5 checkpoints" in everywhere[view.board]
    assert ("D, 64 bits, Emoji", "me/d") in everywhere[view.checkpoints].choices


def test_another_protocol_changes_the_board(view: ScoresView):
    updates = view.on_protocol("wiki", "dcmh", ["me/a"])
    assert "protocol dcmh" in updates[view.board]
    assert "+.200" in updates[view.board]
    assert updates[view.curved] == Curved("wiki", "dcmh", ("me/a",))


def test_curves_are_drawn_for_one_event_alone(view: ScoresView):
    """Each picker tells of its own change: an answer to the first could come last, and empty the charts."""
    functions = view.curved.parent.fns.values()
    (drawing,) = (each for each in functions if [*each.outputs][-1:] == [view.figures])
    assert drawing.targets == [(view.curved._id, "change")]
    assert view.open("small", "cca", None)[view.curved] == Curved("wiki", "dscmr", ("me/b", "me/a"))
    assert set(view.on_curves(None)) == {view.figures}


def test_curves_of_the_chosen_checkpoints(view: ScoresView, measured: list):
    updates = view.on_curves(Curved("wiki", "dcmh", ("me/b", "me/a")))
    assert measured == [("me/b", "wiki", "dcmh"), ("me/a", "wiki", "dcmh")]
    for direction, chart in view.charts.items():
        assert [line.name for line in updates[chart].data] == ["B", "A"], direction
    assert "Protocol dcmh: mAP@all" in updates[view.figures]


def test_curves_of_a_protocol_that_has_none_are_those_of_the_usual_one(view: ScoresView, measured: list):
    assert "Protocol dscmr: " in view.on_curves(Curved("wiki", "instance", ("me/a",)))[view.figures]
    assert measured == [("me/a", "wiki", "dscmr")]


def test_no_checkpoint_no_curve(view: ScoresView, measured: list):
    assert view.on_curves(Curved("wiki", "dscmr", ())) == {**dict.fromkeys(view.charts.values()), view.figures: ""}
    assert measured == []


def test_curves_that_cannot_be_measured_say_why(view: ScoresView, monkeypatch: pytest.MonkeyPatch):
    def refuse(*asked: str) -> EvaluationResult:
        raise InputError("no <column>")

    monkeypatch.setattr(scores_module, "measure_curves", refuse)
    updates = view.on_curves(Curved("wiki", "dscmr", ("me/a",)))
    assert "no &lt;column&gt;" in updates[view.figures]
    assert [updates[chart] for chart in view.charts.values()] == [None, None]


def test_data_that_are_not_here_have_no_curves_and_say_so(view: ScoresView):
    there = view.on_dataset("rsicd", "dscmr")
    assert there[view.checkpoints].choices == []
    assert there[view.without_data].visible
    assert "RSICD is not on this machine" in there[view.without_data].value
    assert not view.on_dataset("wiki", "dscmr")[view.without_data].visible


def test_ablations_are_those_on_the_data_set(view: ScoresView):
    assert "ACMR on Wikipedia" in view.on_dataset("wiki", "dscmr")[view.ablations]
    assert "ACMR on Wikipedia" not in view.on_dataset("emoji", "dscmr")[view.ablations]
    assert "ACMR on Wikipedia" in view.on_dataset(EVERYWHERE, "dscmr")[view.ablations]


def test_scores_over_the_focus_are_a_chart_and_no_protocols_of_the_board(view: ScoresView, monkeypatch):
    assert not view.open("small", "cca", None)[view.focused].visible
    known = [
        score("a", mean=0.5),
        *(score("a", f"dscmr(focus={focus})", 0.6 - focus / 10) for focus in (0, 0.5, 1)),
        *(score("a", f"instance(focus={focus})", 0.2 + focus / 10) for focus in (0, 1)),
        *(score("far", f"dscmr(focus={focus})", dataset="rsicd") for focus in (0, 1)),
    ]
    monkeypatch.setattr(scores_module, "known_scores", lambda: known)
    updates = view.open("small", "cca", None)
    assert updates[view.protocol].choices == [("dscmr", "dscmr")]
    assert updates[view.focused].visible
    lines = updates[view.focus_chart].data
    assert [line.name for line in lines] == ["A: mAP, dscmr", "A: mR, instance"]
    assert [list(line.x) for line in lines] == [[0, 0.5, 1], [0, 1]]
    assert list(lines[0].y) == pytest.approx([0.6, 0.55, 0.5])
    assert lines[0].line.color == lines[1].line.color
    assert lines[0].line.dash != lines[1].line.dash
    figures = updates[view.focus_figures]
    assert rows(figures) == [
        ["A", "dscmr", "mAP", ".600", ".550", ".500"],
        ["A", "instance", "mR", ".200", "–", ".300"],
    ]
    assert "Protocol dscmr: mAP@all" in figures
    assert len(view.on_dataset(EVERYWHERE, "dscmr")[view.focus_chart].data) == 3
