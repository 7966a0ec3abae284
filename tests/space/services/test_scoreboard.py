import json
from pathlib import Path

import pytest

from cmr_hub.hub.checkpoints import RUN_NAME
from cmr_hub.results.leaderboard import list_scores
from cmr_hub.retrieval.prepared import prepared_folder
from cmr_hub.space.services import scoreboard
from cmr_hub.space.services.scoreboard import Scoreboard, known_scores
from scored import score
from toys import feature_retriever

SCORES = [
    *(score("a", "dscmr", 0.5), score("a", "dcmh", 0.4), score("a", "instance", 0.1)),
    *(score("b", "dscmr", 0.3), score("b", "dcmh", 0.6)),
    *(score("c", "dcmh", 0.5), score("c", "dscmr", 0.2)),
]


def test_usual_protocol_is_the_one_that_most_cards_lead_with():
    board = Scoreboard(SCORES)
    assert board.usual == "dscmr"
    assert board.protocols == ["dscmr", "dcmh", "instance"]
    assert Scoreboard(SCORES[5:]).usual == "dcmh"


def test_ranking_is_by_the_mean():
    assert [each.title for each in Scoreboard(SCORES).ranking("dscmr")] == ["A", "B", "C"]
    assert [each.title for each in Scoreboard(SCORES).ranking("dcmh")] == ["B", "C", "A"]


def test_change_is_against_the_checkpoints_own_usual_score():
    board = Scoreboard(SCORES)
    assert [board.change(each) for each in board.ranking("dcmh")] == pytest.approx([0.3, 0.3, -0.1])
    assert [board.change(each) for each in board.ranking("dscmr")] == [0, 0, 0]


def test_another_measure_and_a_missing_score_have_no_change():
    board = Scoreboard([*SCORES, score("d", "dcmh")])
    (of_pairs,) = board.ranking("instance")
    assert board.change(of_pairs) is None
    assert board.change(board.scores[-1]) is None


def test_places_are_counted_within_a_data_set():
    assert Scoreboard(SCORES).moved("dcmh") == 3
    assert Scoreboard(SCORES).moved("dscmr") == 0
    apart = [score("a", "dscmr", 0.5), score("a", "dcmh", 0.2)]
    apart += [score("b", "dscmr", 0.3, dataset="emoji"), score("b", "dcmh", 0.6, dataset="emoji")]
    assert Scoreboard(apart).moved("dcmh") == 0
    assert Scoreboard([*SCORES, score("d", "dcmh", 0.9)]).moved("dcmh") == 3  # no place to compare that of d with


def test_checkpoints_trained_here_are_listed_beside_the_bundled_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("CMR_HUB_CACHE", str(tmp_path))
    trained, bundled = prepared_folder("wiki", "cca"), prepared_folder("wiki", "dscmr")
    monkeypatch.setattr(
        scoreboard,
        "prepared_galleries",
        lambda name: {"cca": trained / "gallery", "dscmr": bundled / "gallery"} if name == "wiki" else {},
    )
    feature_retriever("cca").save_pretrained(trained)
    entry = {"protocol": "dscmr", "description": "dscmr: …", "split": "test", "metrics": {"map": 0.4}, "seeds": []}
    run = {"method": "cca", "dataset": "wiki", "recipe": {"published": {}, "encoders": {}}, "results": [entry]}
    (trained / RUN_NAME).write_text(json.dumps(run))
    bundled_ones = list_scores()
    (one_more,) = [each for each in known_scores() if each not in bundled_ones]
    assert (one_more.checkpoint, one_more.measured.mean) == (str(trained), 0.4)
    assert len(known_scores()) == len(bundled_ones) + 1
    (trained / RUN_NAME).write_text(json.dumps({**run, "weights": "of others"}))
    assert known_scores() == bundled_ones
    assert "training_run.json is of other weights" in caplog.text
