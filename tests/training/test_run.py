import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

import cmr_hub
from cmr_hub.errors import CheckpointError, InputError, UnwritableError
from cmr_hub.evaluation import get_protocol
from cmr_hub.hub.checkpoints import RUN_NAME
from cmr_hub.hub.weights import weights_digest
from cmr_hub.results.leaderboard import read_scores
from cmr_hub.training import train as module
from cmr_hub.training.recipe import load_recipe
from cmr_hub.training.run import TRAINER_FOLDER, TrainingRun, cached_run, has_finished_run
from cmr_hub.training.train import train
from small_trainings import feature_splits, quick_recipe


@pytest.fixture(scope="module")
def dataset():
    return feature_splits()


@pytest.fixture(scope="module")
def once(dataset, tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("once")
    train(quick_recipe("cca"), dataset, "toy", folder)
    return folder


@pytest.fixture
def finished(once, tmp_path):
    return shutil.copytree(once, tmp_path / "run")


def change_weights(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def asked(dataset, **changes):
    given = {"recipe": quick_recipe("cca"), "dataset": dataset, "dataset_name": "toy", "seed": 0, **changes}
    return TrainingRun.of(**given)


def test_a_record_has_the_digest_of_the_weights_and_of_the_data(finished, dataset):
    run = TrainingRun.load(finished)
    assert run.weights == weights_digest(finished)
    assert run.data["train"].startswith("200 pairs, xxh3_128 ")
    assert list(run.data) == list(dataset)


def test_the_digest_is_that_of_the_files_and_follows_them(finished):
    import xxhash

    before = weights_digest(finished)
    assert before == xxhash.xxh3_128((finished / "model.safetensors").read_bytes()).hexdigest()
    change_weights(finished)
    assert weights_digest(finished) == xxhash.xxh3_128((finished / "model.safetensors").read_bytes()).hexdigest()
    assert weights_digest(finished) != before


def test_the_record_of_other_weights_is_refused(finished):
    change_weights(finished)
    with pytest.raises(CheckpointError, match=r"training_run\.json is of other weights than those in the folder"):
        TrainingRun.load(finished)
    with pytest.raises(CheckpointError, match=r"is of other weights .*train again, or restore the weights"):
        read_scores(finished)


def test_a_record_of_before_has_no_digest_and_is_read(finished):
    record = json.loads((finished / RUN_NAME).read_text())
    del record["weights"], record["data"]
    (finished / RUN_NAME).write_text(json.dumps(record))
    change_weights(finished)
    assert TrainingRun.load(finished).weights is None
    assert read_scores(finished)


def test_a_run_killed_between_its_weights_and_its_record_is_not_taken_for_finished(finished, dataset, monkeypatch):
    before = (finished / RUN_NAME).read_bytes()

    def killed(*args):
        raise KeyboardInterrupt

    recipe = quick_recipe("cca").changed(config={"regularization": 0.5})
    with monkeypatch.context() as patch:
        patch.setattr(module, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, dataset, "toy", finished, overwrite=True)
    assert (finished / RUN_NAME).read_bytes() == before
    protocols = [get_protocol("dscmr")]
    assert cached_run(asked(dataset), finished, protocols) is None
    assert cached_run(asked(dataset, recipe=recipe), finished, protocols) is None
    run = train(recipe, dataset, "toy", finished, resume=True)
    assert TrainingRun.load(finished) == run
    assert run.weights == weights_digest(finished)


def test_a_run_that_learns_by_gradient_is_resumed_where_it_was_killed_while_measuring(dataset, tmp_path, monkeypatch):
    steps = []
    real = module.CMRTrainer.training_step
    monkeypatch.setattr(
        module.CMRTrainer,
        "training_step",
        lambda self, *args, **kwargs: steps.append(1) or real(self, *args, **kwargs),
    )
    scores = iter([0.1, 0.2, 0.0])
    monkeypatch.setattr(module.CMRTrainer, "_retrieval_metrics", lambda self, prediction: {"map": next(scores)})

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            train(quick_recipe(num_train_epochs=2), dataset, "toy", tmp_path)
    assert len(steps) == 8
    run = train(quick_recipe(num_train_epochs=2), dataset, "toy", tmp_path, resume=True)
    assert len(steps) == 8
    assert run.best_epoch == 2
    assert TrainingRun.load(tmp_path) == run
    assert not (tmp_path / TRAINER_FOLDER).exists()


def test_a_finished_run_is_not_trained_over_unasked(finished, dataset):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(InputError, match=r"run holds a finished run: give another folder, add --resume .*overwrite"):
        train(quick_recipe("cca"), dataset, "toy", finished)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_a_file_in_the_place_of_the_folder_is_found_before_the_training(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "make_features", lambda *args: pytest.fail("encoded"))
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UnwritableError, match="run is a file, and a folder is to be written"):
        train(quick_recipe("cca"), dataset, "toy", tmp_path / "run")


def test_resuming_a_finished_run_gives_it_back(finished, dataset, monkeypatch):
    monkeypatch.setattr(module, "make_features", lambda *args: pytest.fail("features are made"))
    assert train(quick_recipe("cca"), dataset, "toy", finished, resume=True) == TrainingRun.load(finished)
    with pytest.raises(InputError, match=r"finished run of another training, in seed \(0 before, 1 now\): give"):
        train(quick_recipe("cca"), dataset, "toy", finished, seed=1, resume=True)
    with pytest.raises(InputError, match=r"not measured under instance: add it with `cmr evaluate --protocols inst"):
        train(quick_recipe("cca"), dataset, "toy", finished, resume=True, protocols=["dscmr", "instance"])


def test_overwriting_trains_over_a_finished_run(finished, dataset):
    recipe = quick_recipe("cca").changed(config={"embed_dim": 2})
    run = train(recipe, dataset, "toy", finished, overwrite=True)
    assert cmr_hub.from_pretrained(finished).model.config.embed_dim == 2
    assert TrainingRun.load(finished) == run


def test_overwriting_and_resuming_takes_what_is_the_same_and_trains_what_is_not(finished, dataset, caplog):
    digest = weights_digest(finished)
    both = {"resume": True, "overwrite": True}
    assert train(quick_recipe("cca"), dataset, "toy", finished, **both).weights == digest
    recipe = quick_recipe("cca").changed(config={"embed_dim": 2})
    assert train(recipe, dataset, "toy", finished, **both).weights != digest
    (finished / RUN_NAME).write_text('{"method": "cca", ')
    assert train(recipe, dataset, "toy", finished, **both) == TrainingRun.load(finished)
    assert "training_run.json is no valid JSON" in caplog.text


def test_a_damaged_record_is_named(finished, dataset):
    (finished / RUN_NAME).write_text("{")
    for options in ({}, {"resume": True}):
        with pytest.raises(CheckpointError, match=r"training_run\.json is no valid JSON"):
            train(quick_recipe("cca"), dataset, "toy", finished, **options)


def test_mappings_that_a_recipe_file_nests_are_stored_as_json(dataset, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "method: cca\nsummary: s\npaper: {title: t, authors: a, url: https://example.org, citation: c}\n"
        "encoders:\n  image: {name: concat/one+two, options: {one: {view: whole}}}\n  text: glove\n"
    )
    run = asked(dataset, recipe=load_recipe(recipe))
    run.save(tmp_path)
    assert TrainingRun.load(tmp_path).recipe["encoders"]["image"]["options"] == {"one": {"view": "whole"}}


def test_a_run_remembers_what_its_data_are_called_and_where_they_were(dataset, tmp_path):
    train(quick_recipe("cca"), dataset, "toy", tmp_path, data_name="stamps", data_dir=tmp_path / "data")
    run = TrainingRun.load(tmp_path)
    assert (run.dataset, run.data_name, run.data_dir) == ("toy", "stamps", str(tmp_path / "data"))


def test_a_checkpoint_without_a_record_is_not_overwritten(finished, dataset):
    (finished / RUN_NAME).unlink()
    before = weights_digest(finished)
    with pytest.raises(
        InputError, match=r"run holds a checkpoint, model\.safetensors: give another folder.*overwrite"
    ):
        train(quick_recipe("cca"), dataset, "toy", finished)
    assert weights_digest(finished) == before
    train(quick_recipe("cca"), dataset, "toy", finished, overwrite=True)
    assert has_finished_run(finished)
