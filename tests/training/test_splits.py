"""Trainings on few pairs, and on data sets without a validation or a test split."""

import json

import pytest
from datasets import DatasetDict

import cmr_hub
from closeness import assert_alike, assert_figures, assert_results
from cmr_hub.data.base import drawn_rows, hash_order, with_database
from cmr_hub.errors import InputError
from cmr_hub.evaluation import evaluate, get_protocol
from cmr_hub.experiments.publish import Terms, card_content
from cmr_hub.training import datasets as features_module
from cmr_hub.training.run import TrainingRun
from cmr_hub.training.splits import MIN_HELD_OUT, MIN_TO_HOLD_OUT, fit_to_splits, with_validation
from cmr_hub.training.train import make_splits, train
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


def test_a_table_holds_the_same_pairs_out_of_every_method(tmp_path):
    dataset = DatasetDict(train=feature_dataset(120), test=feature_dataset(30, 1, "test"))
    kept = {row["id"] for row in with_validation(dataset)["train"]}
    assert 100 < len(kept) < 120
    for method, share, pairs in (("cca", None, 120), ("cca", 0.1, len(kept)), ("dscmr", None, len(kept))):
        splits = make_splits(quick_recipe(method), dataset, "toy", share)
        assert len(splits["train"]) == pairs
        assert share is None or set(splits["train"]["id"]) == kept
    alone = train(quick_recipe("cca"), with_validation(dataset), "toy", tmp_path / "alone", protocols=["dscmr"])
    table = train(quick_recipe("cca"), dataset, "toy", tmp_path / "table", protocols=["dscmr"], held_out=0.1)
    whole = train(quick_recipe("cca"), dataset, "toy", tmp_path / "whole", protocols=["dscmr"])
    assert (alone.pairs, table.pairs, whole.pairs) == (len(kept), len(kept), 120)
    assert_results(table.results, alone.results)
    assert whole.differences(table) == "held_out (0.0 before, unset now)"


def test_records_of_before_say_that_closed_forms_held_nothing_out(tmp_path):
    dataset = DatasetDict(train=feature_dataset(40), test=feature_dataset(20, 1, "test"))
    run = train(quick_recipe("cca"), dataset, "toy", tmp_path, protocols=["dscmr"])
    record = json.loads((tmp_path / "training_run.json").read_text())
    del record["pairs"]
    record["held_out"] = 0.1  # as it was recorded, though all pairs were learned from
    (tmp_path / "training_run.json").write_text(json.dumps(record))
    assert TrainingRun.load(tmp_path).held_out == run.held_out == 0


@pytest.mark.parametrize("protocol", ["dcmh", "dscmr"])
def test_some_pairs_are_learned_from_and_all_are_searched(tmp_path, protocol):
    dataset = DatasetDict(train=feature_dataset(150), test=feature_dataset(30, 1, "test"))
    recipe = quick_recipe("cca").changed(train_rows=60)
    drawn = sorted(dataset["train"]["id"], key=hash_order)[:60]
    run = train(recipe, dataset, "toy", tmp_path / "recipe", protocols=[protocol])
    assert run.pairs == 60
    assert make_splits(recipe, dataset, "toy")["train"]["id"][:] == drawn
    fewer = DatasetDict({**dataset, "train": drawn_rows(dataset["train"], 60)})
    small = cmr_hub.from_pretrained(tmp_path / "recipe")
    assert_figures(run.results[0]["metrics"], evaluate(small, dataset["test"], protocol, dataset["train"]).metrics)
    alone = train(quick_recipe("cca"), fewer, "toy", tmp_path / "alone", protocols=["dscmr"])
    loaded = train(quick_recipe("cca"), with_database(dataset, 60), "toy", tmp_path / "loader", protocols=[protocol])
    assert_results(loaded.results, run.results)
    rows = dataset["test"].with_format("numpy")["image_features"][:]
    assert_alike(cmr_hub.from_pretrained(tmp_path / "alone").encode_images(rows), small.encode_images(rows))
    assert alone.pairs == 60


def test_the_epoch_is_chosen_within_the_pairs_that_are_learned_from(tmp_path):
    dataset = DatasetDict(train=feature_dataset(300), test=feature_dataset(30, 1, "test"))
    splits = make_splits(quick_recipe().changed(train_rows=100), dataset, "toy")
    assert len(splits["train"]) + len(splits["validation"]) == 100
    assert set(splits["train"]["id"]) | set(splits["validation"]["id"]) == set(
        sorted(dataset["train"]["id"], key=hash_order)[:100]
    )


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


def of_one_class(items):
    return feature_dataset(items).filter(lambda label: label == 1, input_columns="label")


def test_one_class_alone_is_refused_before_it_is_encoded(tmp_path, not_encoded):
    one = DatasetDict(train=of_one_class(200), test=feature_dataset(20, 1, "test"))
    with pytest.raises(InputError, match=r"two at least must have training items, not 1\. .*pairs alone"):
        train(quick_recipe(), one, "toy", tmp_path)


def test_results_by_class_of_one_class_alone_are_a_warning(tmp_path, caplog):
    one = DatasetDict(train=feature_dataset(60), test=of_one_class(60))
    train(quick_recipe("cca"), one, "toy", tmp_path, protocols=["dscmr"])
    assert "by class any order of them is right" in caplog.text
