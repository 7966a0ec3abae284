"""Trainings on few pairs, and on data sets without a validation or a test split."""

import json

import pytest
from datasets import DatasetDict

from cmr_hub.errors import InputError
from cmr_hub.evaluation import get_protocol
from cmr_hub.experiments.publish import Terms, card_content
from cmr_hub.training import datasets as features_module
from cmr_hub.training.splits import MIN_HELD_OUT, MIN_TO_HOLD_OUT, fit_to_splits, with_validation
from cmr_hub.training.train import train
from small_trainings import feature_splits, quick_recipe
from toys import feature_dataset


@pytest.fixture
def not_encoded(monkeypatch):
    """Fails where anything is encoded."""
    monkeypatch.setattr(features_module, "make_pairs", lambda *args: pytest.fail("pairs are encoded"))


@pytest.mark.parametrize("pairs", [MIN_TO_HOLD_OUT, 40, 500])
def test_some_pairs_are_held_out_of_a_small_data_set(pairs):
    dataset = DatasetDict(train=feature_dataset(pairs))
    splits = with_validation(dataset)
    assert len(splits["train"]) + len(splits["validation"]) == pairs
    assert MIN_HELD_OUT <= len(splits["validation"]) < 0.3 * pairs
    assert set(splits["validation"]["id"]) <= set(with_validation(dataset, 0.4)["validation"]["id"])


def test_what_is_too_small_for_validation_is_refused_before_it_is_encoded(tmp_path, not_encoded):
    few = DatasetDict(train=feature_dataset(4), test=feature_dataset(8))
    with pytest.raises(
        InputError, match=r"4 training pairs are too few .* 20 are needed\. .*--hold-out 0.* such as cca"
    ):
        train(quick_recipe(), few, "toy", tmp_path)
    alone = DatasetDict(train=feature_dataset(40), validation=feature_dataset(1))
    with pytest.raises(InputError, match="The validation split has 1 pair, which any model finds"):
        train(quick_recipe(), alone, "toy", tmp_path)


def test_training_needs_a_training_split(tmp_path, not_encoded):
    with pytest.raises(InputError, match="'toy' has no train split here, only test"):
        train(quick_recipe(), DatasetDict(test=feature_dataset(40)), "toy", tmp_path)


def test_protocols_that_choose_on_what_is_not_there_are_refused(tmp_path, not_encoded):
    dataset = DatasetDict(train=feature_dataset(40))
    with pytest.raises(
        InputError, match="'dscmr-test-selected' chooses the epoch on the test split, and there is none"
    ):
        train(quick_recipe(), dataset, "toy", tmp_path, protocols=["dscmr-test-selected"])
    dataset["test"] = feature_dataset(9)
    with pytest.raises(InputError, match="without validation pairs none is chosen"):
        train(quick_recipe(), dataset, "toy", tmp_path, protocols=["dscmr", "dscmr-test-selected"], held_out=0)


@pytest.mark.slow
def test_without_a_test_split_the_validation_split_is_measured(tmp_path, caplog):
    dataset = DatasetDict(train=feature_dataset(60))
    run = train(quick_recipe(), dataset, "toy", tmp_path, protocols=["dscmr", "djsrh"])
    searched = len(with_validation(dataset)["train"])  # without the queries
    assert [(entry["protocol"], entry["split"]) for entry in run.results] == [
        ("dscmr", "validation"),
        ("djsrh" if searched >= 50 else f"djsrh(cut_off={searched})", "validation"),
    ]
    assert "There is no test split: the results are those of the validation split" in caplog.text
    again = train(quick_recipe(), dataset, "toy", tmp_path, protocols=["dscmr", "djsrh"], resume=True)
    assert again == run


@pytest.mark.slow
def test_all_pairs_are_learned_from(tmp_path, caplog):
    dataset = DatasetDict(train=feature_dataset(6))
    caplog.set_level("INFO")
    run = train(quick_recipe(), dataset, "folder", tmp_path, held_out=0)
    assert (run.best_epoch, run.epochs) == (4, 4)
    assert [entry["split"] for entry in run.results] == ["train"]
    assert "6 training pairs" in caplog.text
    assert "the last epoch is kept" in caplog.text
    assert "Epoch 4/4  loss" in caplog.text
    assert "say little of others" in caplog.text
    with pytest.raises(InputError, match=r"finished run of another training, in .*held_out \(0 before, 0\.2 now\)"):
        train(quick_recipe(), DatasetDict(train=feature_dataset(30)), "folder", tmp_path, held_out=0.2, resume=True)
    processor = json.loads((tmp_path / "processor_config.json").read_text())
    card = card_content(run, "me/toy", processor, terms=Terms(license="mit"))
    assert card.hyperparameters["epoch chosen on"] == "no data: the last one was kept"


@pytest.mark.parametrize("method", ["cca", "sh"])
def test_a_closed_form_needs_few_pairs(tmp_path, method):
    run = train(quick_recipe(method), DatasetDict(train=feature_dataset(12)), "toy", tmp_path)
    assert [entry["split"] for entry in run.results] == ["train"]


def test_ranks_are_those_that_a_small_test_split_has(tmp_path, caplog):
    dataset = feature_splits()
    dataset["test"] = dataset["test"].select(range(6))
    run = train(quick_recipe("cca"), dataset, "toy", tmp_path, protocols=["instance"])
    (entry,) = run.results
    assert entry["protocol"] == "instance(at=(1, 5))"
    assert {"recall@1", "recall@5"} < entry["metrics"].keys()
    assert "recall@10" not in entry["metrics"]
    assert "The gallery has 6 items: instance(at=(1, 5)) is measured in place of instance" in caplog.text


def test_protocols_are_fitted_to_the_gallery_that_they_search():
    splits = DatasetDict(train=feature_dataset(30), test=feature_dataset(6))
    found = fit_to_splits([get_protocol(name) for name in ("djsrh", "fico-itr", "dscmr")], splits)
    assert [protocol.name for protocol in found] == ["djsrh(cut_off=30)", "fico-itr(cut_off=6)", "dscmr"]
