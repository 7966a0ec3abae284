import json
from pathlib import Path

import pytest

from cmr_hub.errors import CheckpointError, UnknownNameError
from cmr_hub.evaluation import get_protocol
from cmr_hub.hub import bundled_checkpoints, list_checkpoints
from cmr_hub.hub.checkpoints import RUN_NAME, read_card
from cmr_hub.hub.weights import WEIGHTS_KEY, weights_digest
from cmr_hub.results.leaderboard import Figures, list_scores, read_scores
from toys import feature_retriever

BOTH_WAYS = {"image_to_text/map": 0.5, "text_to_image/map": 0.4, "map": 0.45}
PUBLISHED = {"source": "A paper, Table 1", "metrics": {"image_to_text/map": 0.3, "text_to_image/map": 0.2}}


def entry(protocol: str = "dscmr", split: str = "test", metrics: dict = BOTH_WAYS, seeds: tuple = (0,)) -> dict:
    described = get_protocol(protocol).describe()
    return {"protocol": protocol, "description": described, "split": split, "metrics": metrics, "seeds": list(seeds)}


def checkpoint(folder: Path, *entries: dict, method: str = "cca", published: dict | None = None) -> Path:
    """A saved checkpoint with a record of what was measured."""
    feature_retriever(method).save_pretrained(folder)
    recipe = {"published": published or {}, "encoders": {"image": "precomputed", "text": "precomputed"}}
    run = {"method": method, "dataset": "wiki", "recipe": recipe, "results": list(entries)}
    (folder / RUN_NAME).write_text(json.dumps(run))
    return folder


def test_scores_of_a_checkpoint_stand_with_protocol_and_seeds(tmp_path: Path):
    pairs = {"image_to_text/mean_recall": 0.3, "text_to_image/mean_recall": 0.1, "mean_recall": 0.2}
    of_class, of_pairs = read_scores(checkpoint(tmp_path, entry(), entry("instance", metrics=pairs, seeds=())))
    assert (of_class.title, of_class.supervision, of_class.dataset, of_class.bits) == (
        "CCA",
        "unsupervised",
        "wiki",
        None,
    )
    assert (of_class.protocol, of_class.metric, of_class.seeds) == ("dscmr", "map", (0,))
    assert of_class.description == get_protocol("dscmr").describe()
    assert of_class.measured == Figures(0.5, 0.4, 0.45)
    assert (of_class.published, of_class.published_in) == (None, "")
    assert (of_pairs.metric, of_pairs.measured, of_pairs.seeds) == ("mean_recall", Figures(0.3, 0.1, 0.2), ())
    assert of_class.checkpoint == str(tmp_path)
    assert (of_class.encoders, of_class.saw_captions) == ({"image": "precomputed", "text": "precomputed"}, "")


def test_codes_have_their_length(tmp_path: Path):
    (score,) = read_scores(checkpoint(tmp_path, entry(), method="sh"), "me/sh")
    assert (score.bits, score.checkpoint) == (16, "me/sh")


def test_validation_results_are_no_scores(tmp_path: Path):
    assert read_scores(checkpoint(tmp_path, entry(split="validation"))) == []


def test_what_another_epoch_would_give_is_no_score_of_these_weights(tmp_path: Path):
    watched = {**entry("dscmr-test-selected"), "epoch": 7}
    assert [score.protocol for score in read_scores(checkpoint(tmp_path, entry(), watched))] == ["dscmr"]


@pytest.mark.parametrize(("named", "under"), [({}, "dscmr"), ({"protocol": "dcmh"}, "dcmh")])
def test_published_figures_stand_beside_their_own_protocol_alone(tmp_path: Path, named: dict, under: str):
    scores = read_scores(checkpoint(tmp_path, entry(), entry("dcmh"), published=PUBLISHED | named))
    (cited,) = [score for score in scores if score.published]
    assert (cited.protocol, cited.published_in) == (under, "A paper, Table 1")
    assert cited.published == Figures(0.3, 0.2, 0.25)


def test_one_published_direction_has_no_mean(tmp_path: Path):
    published = {"source": "A paper", "metrics": {"image_to_text/map": 0.3}}
    (score,) = read_scores(checkpoint(tmp_path, entry(), published=published))
    assert score.published == Figures(0.3, None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run.pop("dataset"), "KeyError"),
        (lambda run: run.update(results=[1]), "TypeError"),
        (lambda run: run.update(recipe=[]), "TypeError"),
    ],
)
def test_damaged_record_is_named(tmp_path: Path, change, message: str):
    path = checkpoint(tmp_path, entry()) / RUN_NAME
    run = json.loads(path.read_text())
    change(run)
    path.write_text(json.dumps(run))
    with pytest.raises(CheckpointError, match=rf"training_run\.json is damaged.*{message}"):
        read_scores(tmp_path)


def test_missing_record_and_unknown_method_are_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"has no training_run\.json"):
        read_scores(tmp_path)
    (tmp_path / RUN_NAME).write_text(json.dumps({"method": "ccaa"}))
    with pytest.raises(UnknownNameError, match="Did you mean 'cca'"):
        read_scores(tmp_path)


def test_every_bundled_checkpoint_has_scores_as_its_card_has_them():
    scores = list_scores()
    assert {score.checkpoint for score in scores} == set(bundled_checkpoints())
    in_cards = {
        (info.repo_id, result.metric_args["protocol"]): result.metric_value
        for info in list_checkpoints()
        for result in info.metrics
        if result.metric_type in ("map", "mean_recall")
    }
    assert {(score.checkpoint, score.protocol): score.measured.mean for score in scores} == in_cards


def test_bundled_scores_are_of_the_protocols_as_they_are():
    assert all(score.description == get_protocol(score.protocol).describe() for score in list_scores())


def test_pattern_matches_name_or_id():
    assert {score.checkpoint for score in list_scores("cca-w*")} == {"cmr/cca-wiki"}
    assert list_scores("cmr/cca-wiki") == list_scores("cca-wiki")


def test_every_bundled_record_and_card_has_the_digest_of_its_weights():
    for folder in bundled_checkpoints().values():
        recorded = json.loads((folder / RUN_NAME).read_text())["weights"]
        card = read_card(folder / "README.md").data[WEIGHTS_KEY]
        assert recorded == card == weights_digest(folder), folder
