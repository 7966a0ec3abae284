import errno
import json
import os
import shutil

import numpy as np
import pytest
import torch
from datasets import DatasetDict
from transformers import TrainerState

import cmr_hub
from closeness import assert_trained_alike
from cmr_hub.errors import DiskFullError, InputError
from cmr_hub.training import resuming
from cmr_hub.training.resuming import REQUEST_NAME, complete_states, differences, last_state, training_request
from cmr_hub.training.run import TRAINER_FOLDER, settings_of
from cmr_hub.training.train import train
from cmr_hub.training.trainer import CMRTrainer
from small_trainings import feature_splits, quick_recipe

SAVED = [
    (CMRTrainer, "save_model"),
    (CMRTrainer, "_save_optimizer_and_scheduler"),
    (TrainerState, "save_to_json"),
    (resuming, "write_checksums"),
]


@pytest.fixture
def dataset():
    return feature_splits()


@pytest.fixture
def rising(monkeypatch):
    """Makes each epoch of the next training better than the one before, so that its state is saved."""

    def rise():
        values = iter([0.1, 0.2, 0.3, 0.4])
        monkeypatch.setattr(CMRTrainer, "_retrieval_metrics", lambda self, prediction: {"map": next(values)})

    return rise


@pytest.fixture
def stopped(dataset, tmp_path, rising, monkeypatch):
    """Trains until a function is called for the second time, and raises an error in it."""

    def stop(owner, name, error):
        real, calls = getattr(owner, name), []

        def fail_second(*args, **kwargs):
            calls.append(1)
            if len(calls) == 2:
                raise error
            return real(*args, **kwargs)

        rising()
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail_second)
            train(quick_recipe(), dataset, "toy", tmp_path / "stopped")

    return stop


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CMRTrainer, "_retrieval_metrics", lambda self, prediction: {"map": next(scores)})
        scores = iter([0.1, 0.2, 0.3, 0.4])
        train(quick_recipe(), feature_splits(), "toy", folder)
    return folder


@pytest.mark.parametrize(("owner", "name"), SAVED, ids=[name for _, name in SAVED])
def test_a_run_killed_while_a_state_is_saved_continues_from_the_one_before(
    dataset, rising, stopped, whole, tmp_path, caplog, owner, name
):
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        stopped(owner, name, KeyboardInterrupt())
    assert [state.name for state in complete_states(folder / TRAINER_FOLDER)] == ["checkpoint-4"]
    rising()
    run = train(quick_recipe(), dataset, "toy", folder, resume=True)
    assert (run.epochs, run.best_epoch) == (4, 4)
    was_begun = name != "save_model"
    assert ("checkpoint-8 is not complete: the training continues from checkpoint-4" in caplog.text) is was_begun
    rows = np.ones((1, 6), dtype=np.float32)
    resumed, whole = (cmr_hub.from_pretrained(path).encode_images(rows) for path in (folder, whole))
    assert_trained_alike(resumed, whole)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The states of a training that was interrupted after its first epoch."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CMRTrainer, "_retrieval_metrics", lambda self, prediction: {"map": next(scores)})
        scores = iter([0.1])
        with pytest.raises(StopIteration):
            train(quick_recipe(), feature_splits(), "toy", folder)
    return folder


@pytest.fixture
def states(interrupted, tmp_path):
    return shutil.copytree(interrupted, tmp_path / "run") / TRAINER_FOLDER


@pytest.mark.parametrize(
    "name",
    ["trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "checksums.json"],
)
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_state_with_a_damaged_file_is_not_continued_from(states, caplog, name, damage):
    request = json.loads((states / REQUEST_NAME).read_text())
    assert last_state(states, request, resume=True, overwrite=False) == str(states / "checkpoint-4")
    shutil.copytree(states / "checkpoint-4", states / "checkpoint-8")
    path = states / "checkpoint-8" / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert last_state(states, request, resume=True, overwrite=False) == str(states / "checkpoint-4")
    assert "checkpoint-8 is not complete: the training continues from checkpoint-4" in caplog.text
    assert not path.parent.exists()


def test_without_a_complete_state_the_training_begins_anew_and_says_so(dataset, states, caplog):
    (states / "checkpoint-4" / "trainer_state.json").unlink()
    run = train(quick_recipe(), dataset, "toy", states.parent, resume=True)
    assert run.epochs == 4
    assert "trainer has no complete state to continue from: the training begins anew" in caplog.text


def test_the_best_state_is_found_where_the_folder_has_moved(dataset, states, monkeypatch):
    scores = iter([0.05, 0.04, 0.03])
    monkeypatch.setattr(CMRTrainer, "_retrieval_metrics", lambda self, prediction: {"map": next(scores)})
    seen = []
    real = CMRTrainer._load_best_model
    monkeypatch.setattr(
        CMRTrainer,
        "_load_best_model",
        lambda self: seen.append(self.state.best_model_checkpoint) or real(self),
    )
    run = train(quick_recipe(), dataset, "toy", states.parent, resume=True)
    assert run.best_epoch == 1
    assert seen == [str(states / "checkpoint-4")]


def smaller(dataset):
    return DatasetDict({**dataset, "train": dataset["train"].select(range(190))})


def edited(dataset):
    features = dataset["train"]["image_features"][:]
    features[17][0] += 1
    train = dataset["train"].remove_columns("image_features").add_column("image_features", features)
    return DatasetDict({**dataset, "train": train.cast(dataset["train"].features)})


CHANGES = {
    "seed": ({}, {"seed": 1}, r"seed \(0 before, 1 now\)"),
    "learning rate": ({"learning_rate": 1e-4}, {}, r"recipe\.training\.learning_rate \(0\.003 before, 0\.0001 now\)"),
    "epochs": ({"num_train_epochs": 5}, {}, r"recipe\.training\.num_train_epochs \(4.0 before, 5.0 now\)"),
    "protocol": ({}, {"protocols": ["instance"]}, r"epoch_chosen_by \(.*dscmr: .* before, .*instance: .* now\)"),
    "data set": ({}, {"name": "other"}, r"dataset \(toy before, other now\)"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_training_does_not_continue_from_the_states(dataset, states, change):
    training, others, message = CHANGES[change]
    others = dict(others)
    with pytest.raises(InputError, match=rf"holds an interrupted run of another training, in {message}"):
        train(quick_recipe(**training), dataset, others.pop("name", "toy"), states.parent, resume=True, **others)
    assert (states / "checkpoint-4").exists()


@pytest.mark.parametrize("change", [smaller, edited])
def test_other_data_do_not_continue_from_the_states(dataset, states, change):
    with pytest.raises(InputError, match=r"another training, in data\.train \(200 pairs, xxh3_128 .* before, "):
        train(quick_recipe(), change(dataset), "toy", states.parent, resume=True)


def test_a_method_option_or_another_method_does_not_continue_from_the_states(dataset, states):
    with pytest.raises(InputError, match=r"in recipe\.config\.hidden_dim \(32 before, 16 now\): ask for the same"):
        train(quick_recipe().changed(config={"hidden_dim": 16}), dataset, "toy", states.parent, resume=True)
    recipe = quick_recipe("contrastive").changed(config={"hidden_dim": 32})
    with pytest.raises(InputError, match=r"in method \(dscmr before, contrastive now\)"):
        train(recipe, dataset, "toy", states.parent, resume=True)


def test_what_changes_no_weight_may_differ(states):
    def request(**training):
        return training_request(settings_of(quick_recipe(**training)), seed=0)

    assert request() == request(dataloader_num_workers=2, logging_steps=5, per_device_eval_batch_size=7)
    assert request() != request(dataloader_drop_last=True)


def test_states_that_do_not_say_what_training_they_are_of(dataset, states):
    (states / REQUEST_NAME).write_text("{")
    with pytest.raises(InputError, match=r"no valid JSON.* not known what training the states in .*trainer are of"):
        train(quick_recipe(), dataset, "toy", states.parent, resume=True)


def test_overwriting_begins_anew_where_it_is_another_training_and_continues_where_it_is_the_same(states):
    request = json.loads((states / REQUEST_NAME).read_text())
    assert last_state(states, request, resume=True, overwrite=True) == str(states / "checkpoint-4")
    assert last_state(states, {**request, "seed": 1}, resume=True, overwrite=True) is None
    assert not (states / "checkpoint-4").exists()
    assert json.loads((states / REQUEST_NAME).read_text())["seed"] == 1


def test_an_interrupted_run_is_not_begun_anew_unasked(states):
    request = json.loads((states / REQUEST_NAME).read_text())
    with pytest.raises(InputError, match=r"interrupted run: add --resume to go on, or add --overwrite-output-dir"):
        last_state(states, request, resume=False, overwrite=False)
    assert last_state(states, request, resume=False, overwrite=True) is None


def test_differences_name_the_fields():
    before, now = {"seed": 0, "recipe": {"config": {"a": 1}}}, {"seed": 0, "recipe": {"config": {"b": 2}}}
    assert differences(before, now) == "recipe.config.a (1 before, unset now); recipe.config.b (unset before, 2 now)"
    assert differences(now, now) == ""


FULL_DISK = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
TORCH_FULL_DISK = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")


@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [(CMRTrainer, "save_model", FULL_DISK), (torch, "save", TORCH_FULL_DISK)],
    ids=["weights", "optimiser"],
)
def test_a_full_disk_is_named_and_costs_no_state(dataset, rising, stopped, tmp_path, owner, name, error):
    with pytest.raises(DiskFullError, match=r"disk is full.*stopped/trainer\. .* a training continues with --resume"):
        stopped(owner, name, error)
    rising()
    run = train(quick_recipe(), dataset, "toy", tmp_path / "stopped", resume=True)
    assert (run.epochs, run.best_epoch) == (4, 4)
