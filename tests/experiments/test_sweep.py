"""Searching settings on the validation split, by the Trainer or, for closed forms, without one."""

import contextlib
import json
import sqlite3
import sys

import pytest
import yaml
from datasets import DatasetDict

import cmr_hub
from closeness import FIGURES
from cmr_hub.errors import InputError, MissingExtraError, UnknownNameError
from cmr_hub.evaluation import evaluate
from cmr_hub.experiments import sweep as sweep_module
from cmr_hub.experiments.sweep import Dimension, sweep
from cmr_hub.training.recipe import load_recipe
from cmr_hub.training.train import train
from cmr_hub.training.trainer import CMRTrainer
from small_trainings import quick_recipe
from tables import unpadded
from toys import feature_dataset

optuna = pytest.importorskip("optuna")
sqlalchemy = pytest.importorskip("sqlalchemy")


@pytest.fixture(autouse=True)
def volatile_record():
    """The record need not survive a loss of power: SQLite waits for the disk at each of its many steps."""

    def relax(connection, _):
        with contextlib.suppress(sqlite3.DatabaseError):  # a damaged one
            connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", relax)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", relax)


class WithoutTest(dict):
    """Splits of which one must not be looked at."""

    def __getitem__(self, split):
        if split == "test":
            pytest.fail("the test split was looked at")
        return super().__getitem__(split)


@pytest.fixture
def dataset():
    return WithoutTest(
        train=feature_dataset(100), validation=feature_dataset(40, 1, "val"), test=feature_dataset(40, 2, "test")
    )


def quick(method="dscmr", epochs=2):
    recipe = load_recipe(method).changed(encoders={"image": "precomputed", "text": "precomputed"})
    if method == "cca":
        return recipe.changed(config={"embed_dim": 3})
    return recipe.changed(
        config={"hidden_dim": 16, "embed_dim": 8},
        training={"num_train_epochs": epochs, "learning_rate": 3e-3, "per_device_train_batch_size": 50},
    )


def searched(*texts):
    return [Dimension.parse(text) for text in texts]


RATES = searched("learning_rate=log:1e-6:1e-2", "config.embed_dim=choice:4,8")


def test_the_best_trial_is_what_training_with_its_settings_gives(dataset, tmp_path):
    found = sweep(quick(), dataset, "toy", tmp_path / "sweep", RATES, trials=2, seed=3)
    assert [trial["state"] for trial in found.trials] == ["complete"] * 2
    assert found.best["value"] == max(trial["value"] for trial in found.trials)
    section = yaml.safe_load(found.recipe_section())["datasets"]["toy"]
    settings = found.best["settings"]
    assert section == {
        "training": {"learning_rate": settings["learning_rate"]},
        "config": {"embed_dim": settings["config.embed_dim"]},
    }
    whole = DatasetDict(dict(dataset.items()))
    for trial in found.trials:
        settings = trial["settings"]
        recipe = quick().changed(
            training={"learning_rate": settings["learning_rate"]}, config={"embed_dim": settings["config.embed_dim"]}
        )
        folder = tmp_path / str(trial["number"])
        train(recipe, whole, "toy", folder, seed=3)
        measured = evaluate(cmr_hub.from_pretrained(folder), whole["validation"], "dscmr").metrics["map"]
        assert trial["value"] == pytest.approx(measured, abs=FIGURES)
    assert len({trial["value"] for trial in found.trials}) > 1


def test_a_closed_form_is_searched_on_what_it_was_not_fitted_on(dataset, tmp_path):
    space = searched("config.regularization=log:1e-6:1e4", "config.embed_dim=int:1:4")
    found = sweep(quick("cca"), dataset, "toy", tmp_path / "sweep", space, trials=5, protocol="dscmr")
    whole = DatasetDict(dict(dataset.items()))
    settings = {name.removeprefix("config."): value for name, value in found.best["settings"].items()}
    train(quick("cca").changed(config=settings), whole, "toy", tmp_path / "best")
    measured = evaluate(cmr_hub.from_pretrained(tmp_path / "best"), whole["validation"], "dscmr").metrics["map"]
    assert found.best["value"] == pytest.approx(measured, abs=FIGURES)


@pytest.mark.parametrize(("method", "metric"), [("dscmr", "map"), ("cca", "mean_recall"), ("sh", "mean_recall")])
def test_a_method_that_learns_from_pairs_is_searched_by_recall(dataset, tmp_path, method, metric):
    space = searched("config.embed_dim=choice:8,16")
    recipe = quick_recipe("sh") if method == "sh" else quick(method, epochs=1)
    if method == "cca":
        space = searched("config.embed_dim=int:1:3")
    found = sweep(recipe, dataset, "toy", tmp_path, space, trials=1)
    assert found.metric == metric


@pytest.mark.parametrize("method", ["dscmr", "cca"])
def test_without_a_validation_split_a_tenth_of_the_training_split_serves(tmp_path, monkeypatch, method):
    measured = []
    real = sweep_module.evaluate_pairs
    for module in ("cmr_hub.experiments.sweep", "cmr_hub.training.selection"):
        monkeypatch.setattr(f"{module}.evaluate_pairs", lambda *given: measured.append(len(given[3])) or real(*given))
    dataset = {"train": feature_dataset(100)}
    space = RATES[:1] if method == "dscmr" else searched("config.regularization=log:1e-6:1e4")
    sweep(quick(method), dataset, "toy", tmp_path, space, trials=1)
    assert len(set(measured)) == 1
    assert 0 < measured[0] < 25


def test_a_trials_value_is_that_of_its_best_epoch_and_early_stopping_begins_anew(dataset, tmp_path, monkeypatch):
    scores = iter([0.3, 0.9, 0.5, 0.4, 0.2, 0.1, 0.1])
    monkeypatch.setattr(CMRTrainer, "_retrieval_metrics", lambda self, prediction: {"map": next(scores)})
    recipe = quick(epochs=9).changed(early_stopping_patience=2)
    found = sweep(recipe, dataset, "toy", tmp_path, RATES, trials=2)
    assert [trial["value"] for trial in found.trials] == [0.9, 0.2]
    assert next(scores, None) is None
    assert {path.name for path in tmp_path.iterdir()} == {"sweep.db", "sweep.json"}


def test_trials_that_fall_behind_are_given_up_after_some_epochs(dataset, tmp_path, monkeypatch):
    epochs = []

    def scored(self, prediction):
        epochs.append(self.state.epoch)
        return {"map": 0.9 - 0.1 * epochs.count(1.0)}

    monkeypatch.setattr(CMRTrainer, "_retrieval_metrics", scored)
    found = sweep(quick(epochs=3), dataset, "toy", tmp_path, RATES, trials=6, prune_after=2)
    assert [trial["state"] for trial in found.trials] == ["complete"] * 5 + ["pruned"]
    assert epochs[-3:] == [3.0, 1.0, 2.0]
    assert found.best["number"] == 0


def test_an_interrupted_sweep_goes_on(dataset, tmp_path, monkeypatch):
    start, calls = sweep_module._Search.start, []

    def interrupted(self, trial=None):
        calls.append(trial)
        if len(calls) == 4:  # the first is no trial's
            raise KeyboardInterrupt
        return start(self, trial)

    monkeypatch.setattr(sweep_module._Search, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(quick(), dataset, "toy", tmp_path, RATES, trials=3)
    assert not (tmp_path / "sweep.json").exists()
    found = sweep(quick(), dataset, "toy", tmp_path, RATES, trials=3)
    assert [trial["state"] for trial in found.trials] == ["complete", "complete", "fail", "complete"]
    assert len({trial["settings"]["learning_rate"] for trial in found.trials if trial["settings"]}) >= 3
    count = len(calls)
    again = sweep(quick(), dataset, "toy", tmp_path, RATES, trials=3)
    assert (again.trials, len(calls)) == (found.trials, count)
    with pytest.raises(InputError, match=r"holds a sweep of other settings, in seed \(0 before, 1 now\)\. Choose"):
        sweep(quick(), dataset, "toy", tmp_path, RATES, trials=3, seed=1)
    other = {**dataset, "train": dataset["train"].select(range(50))}
    with pytest.raises(InputError, match=r"other settings, in data\.train \(.* before, 50 pairs, .* now\)"):
        sweep(quick(), other, "toy", tmp_path, RATES, trials=3)
    (tmp_path / "sweep.db").write_bytes(b"damaged" * 1000)
    with pytest.raises(
        InputError, match=r"sweep\.db cannot be read as the record of a sweep \(file is not a database"
    ):
        sweep(quick(), dataset, "toy", tmp_path, RATES, trials=3)


def test_a_seed_decides_which_settings_are_tried(dataset, tmp_path):
    tried = [
        [
            trial["settings"]
            for trial in sweep(quick("cca"), dataset, "toy", tmp_path / name, space, seed=seed, trials=3).trials
        ]
        for space in [searched("config.regularization=log:1e-6:1e4")]
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    ]
    assert tried[0] == tried[1] != tried[2]


def test_what_is_kept_of_a_sweep(dataset, tmp_path):
    found = sweep(
        quick("cca"), dataset, "toy", tmp_path, searched("config.embed_dim=int:1:4"), trials=2, command="python …"
    )
    kept = json.loads((tmp_path / "sweep.json").read_text())
    assert kept["best"] == found.best
    assert len(kept["trials"]) == 2
    assert kept["trials"][0].keys() == {"number", "state", "value", "seconds", "settings"}
    assert kept["space"] == [{"section": "config", "name": "embed_dim", "kind": "int", "values": [1, 4]}]
    assert (kept["metric"], kept["seed"], kept["command"]) == ("mean_recall", 0, "python …")
    assert {"optuna", "torch"} <= kept["versions"].keys()
    lines = found.table().splitlines()
    assert unpadded(lines[0]) == "| trial | config.embed_dim | mean_recall | seconds | state |"
    assert unpadded(lines[2]).startswith(f"| {found.best['number']} | {found.best['settings']['config.embed_dim']} |")


def test_settings_that_do_not_fit_fail_their_trial_alone(dataset, tmp_path, caplog):
    found = sweep(quick("cca"), dataset, "toy", tmp_path, searched("config.embed_dim=choice:3,40"), trials=4)
    states = {trial["settings"]["config.embed_dim"]: trial["state"] for trial in found.trials}
    assert states == {3: "complete", 40: "fail"}
    space = searched("config.embed_dim=choice:-4,-5")
    for method in ("cca", "dscmr"):
        with pytest.raises(InputError, match="none of the 2 trials was completed"):
            sweep(quick(method), dataset, "toy", tmp_path / method, space, trials=2)


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("learning_rate=log:1e-5:1e-2", ("training", "learning_rate", "log", (1e-5, 1e-2))),
        ("config.embed_dim=choice:64,128", ("config", "embed_dim", "choice", (64, 128))),
        ("learning_rate=choice:1e-3,0.1", ("training", "learning_rate", "choice", (1e-3, 0.1))),
        ("optim=choice:sgd,adamw_torch", ("training", "optim", "choice", ("sgd", "adamw_torch"))),
        ("config.x=choice:true,false", ("config", "x", "choice", (True, False))),
        ("num_train_epochs=int:5:20", ("training", "num_train_epochs", "int", (5, 20))),
    ],
)
def test_the_command_lines_settings(text, dimension):
    assert Dimension.parse(text) == Dimension(*dimension)
    assert Dimension.parse(text).label == text.partition("=")[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("learning_rate", "not of the form"),
        ("=log:1:2", "not of the form"),
        ("a=log", "not of the form"),
        ("encoders.text=choice:glove,bow", "not of the form"),
        ("a=logarithm:1:2", "no kind 'logarithm'"),
        ("a=log:0:1", "above 0"),
        ("a=float:2:1", "the lower one first"),
        ("a=float:1:2:3", "two ends"),
        ("a=float:1:inf", "two ends"),
        ("a=int:1:2.5", "numbers of that kind"),
        ("a=choice:[1],2", "each choice"),
        ("a=choice:[1", "a choice is no YAML"),
        ("a=choice:2024-13-45", "a choice is no YAML"),
    ],
)
def test_what_is_no_setting_to_search(text, reason):
    with pytest.raises(InputError, match=reason):
        Dimension.parse(text)


@pytest.mark.parametrize(
    ("method", "texts", "error", "message"),
    [
        ("dscmr", ["config.loss_etta=float:0:1"], UnknownNameError, "'loss_etta'. Did you mean 'loss_eta'"),
        ("dscmr", ["learning_rat=log:1e-5:1"], UnknownNameError, "'learning_rat'"),
        ("dscmr", [], InputError, "one setting or more, each once"),
        ("dscmr", ["learning_rate=log:1e-5:1", "learning_rate=float:0:1"], InputError, "each once"),
        ("dscmr", ["config.embed_dim=log:8:64"], InputError, "config.embed_dim is a whole number"),
        ("dscmr", ["per_device_train_batch_size=float:8:64"], InputError, "is a whole number"),
        ("dscmr", ["seed=int:0:9"], InputError, "sets seed itself"),
        ("dscmr", ["optim=choice:adamm,sgd"], UnknownNameError, "no value of .*'optim' named 'adamm'"),
        ("cca", ["learning_rate=log:1e-5:1"], InputError, "closed form without a training loop: 'learning_rate'"),
    ],
)
def test_a_space_that_the_method_has_no_settings_for(dataset, tmp_path, method, texts, error, message):
    with pytest.raises(error, match=message):
        sweep(quick(method), dataset, "toy", tmp_path / "sweep", searched(*texts))
    assert not (tmp_path / "sweep").exists()


def test_what_a_sweep_refuses(dataset, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="chooses on the test split; a sweep never looks at it"):
        sweep(quick(), dataset, "toy", tmp_path, RATES, protocol="dscmr-test-selected")
    with pytest.raises(InputError, match="no epochs"):
        sweep(quick("cca"), dataset, "toy", tmp_path, searched("config.embed_dim=int:1:4"), prune_after=3)
    with pytest.raises(InputError, match="one trial or more, not 0"):
        sweep(quick(), dataset, "toy", tmp_path, RATES, trials=0)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r'pip install "cmr-hub\[sweep\]"'):
        sweep(quick(), dataset, "toy", tmp_path, RATES)
    assert not list(tmp_path.iterdir())
