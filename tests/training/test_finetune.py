import json

import numpy as np
import pytest
import torch
from datasets import ClassLabel, DatasetDict, Features
from safetensors.torch import load_file
from transformers import TrainerCallback

import cmr_hub
from closeness import assert_alike, assert_figures, assert_trained_alike
from cmr_hub.cli.main import main as cmr
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.evaluation import evaluate
from cmr_hub.experiments.publish import card_content
from cmr_hub.experiments.table import find_checkpoints, make_tables
from cmr_hub.modeling.standardizer import FitToFeatures
from cmr_hub.training import finetune as finetune_module
from cmr_hub.training.finetune import FinetuneSettings, TuningTrainer, finetune
from cmr_hub.training.recipe import load_recipe
from cmr_hub.training.run import TRAINER_FOLDER, TrainingRun
from cmr_hub.training.train import train
from cmr_hub.training.trainer import CMRTrainer
from small_trainings import feature_splits, quick_recipe
from toys import feature_dataset, raw_dataset

FREEZE = "features.8"  # of five convolutions the last learns
SMALL = {"num_train_epochs": 1, "learning_rate": 1e-3}
WEIGHTS = "image_encoder.safetensors"


def recipe(method="dan"):
    if method == "dan":
        recipe = load_recipe("dan").changed(
            encoders={"image": {"name": "alexnet", "weights": "random", "grid": 2}, "text": "tokens"},
            config={"embed_dim": 12, "word_dim": 4, "dropout": 0.0},
        )
    else:
        encoder = {"name": "torchvision/shufflenet_v2_x0_5", "weights": "random"}
        recipe = load_recipe(method).changed(encoders={"image": encoder, "text": "bow"}, config={"embed_dim": 8})
    return recipe.changed(training={"num_train_epochs": 1, "per_device_train_batch_size": 18})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return raw_dataset(tmp_path_factory.mktemp("images"), train=36)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMR_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def checkpoint(dataset, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dan")
    train(recipe(), dataset, "toy", folder, protocols=["instance"])
    return folder


@pytest.fixture
def scores(monkeypatch):
    """Lets a test say what validation data are to show: of the start, and of each epoch."""

    def say(*values):
        given = iter(values)
        monkeypatch.setattr(
            CMRTrainer,
            "_retrieval_metrics",
            lambda self, prediction: dict.fromkeys(("mean_recall", "map"), next(given)),
        )

    return say


def state_of(folder):
    return cmr_hub.from_pretrained(folder).processor.image_encoder.network.state_dict()


def changed(before, after):
    """The names of the weights that are not what they were."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_the_rest_of_the_network_learns_and_is_saved_with_the_checkpoint(
    dataset, checkpoint, tmp_path, scores, monkeypatch
):
    scores(0.1, 0.2)
    seen = {}
    release = TuningTrainer.release

    def note(trainer):
        release(trainer)
        trainer.model.eval()
        pairs = trainer.eval_dataset
        features = pairs.image_source.features(torch.arange(4))
        seen["embeds"] = trainer.model.as_embeddings(trainer.model.get_image_features(features).detach())

    monkeypatch.setattr(TuningTrainer, "release", note)
    run = finetune(checkpoint, dataset, "toy", tmp_path, FinetuneSettings(1e-2, FREEZE), training=SMALL)
    before, after = state_of(checkpoint), state_of(tmp_path)
    assert changed(before, after) == {"features.10.weight", "features.10.bias"}
    assert changed(load_file(checkpoint / "model.safetensors"), load_file(tmp_path / "model.safetensors"))

    assert (run.epochs, run.best_epoch) == (1, 1)
    assert run.tuned == {
        "from": str(checkpoint),
        "encoder_learning_rate": 1e-2,
        "freeze": FREEZE,
        "together": False,
    }
    assert run.recipe["training"]["learning_rate"] == 1e-3
    assert TrainingRun.load(tmp_path) == run
    retriever = cmr_hub.from_pretrained(tmp_path)
    assert retriever.processor.to_dict()["image_encoder"]["weights"] == "file"
    # The frozen part's maps were rounded to half precision.
    np.testing.assert_allclose(retriever.encode_images(dataset["validation"]["image"][:4]), seen["embeds"], atol=2e-3)
    metrics = evaluate(retriever, dataset["test"], "instance").metrics
    assert_figures(run.results[0]["metrics"], metrics)
    assert not (tmp_path / TRAINER_FOLDER).exists()


def test_the_start_is_kept_where_tuning_only_hurts(dataset, checkpoint, tmp_path, scores, caplog):
    scores(0.5, 0.5, 0.4)
    with caplog.at_level("INFO"):
        run = finetune(
            checkpoint,
            dataset,
            "toy",
            tmp_path,
            FinetuneSettings(1e-2, FREEZE),
            training=SMALL | {"num_train_epochs": 2},
        )
    assert (run.epochs, run.best_epoch) == (2, 0)
    assert "No epoch is better on validation data than the start, which is kept" in caplog.text
    assert "Epoch 0/2  image_to_text" not in caplog.text  # the scores above are of no direction
    assert "Epoch 0/2" in caplog.text
    assert not (tmp_path / WEIGHTS).exists()
    images, texts = dataset["test"]["image"][:3], ["a red square on the left"]
    start, kept = cmr_hub.from_pretrained(checkpoint), cmr_hub.from_pretrained(tmp_path)
    assert_alike(start.encode_images(images), kept.encode_images(images))
    assert_alike(start.encode_texts(texts), kept.encode_texts(texts))


def test_the_best_epoch_is_kept_of_both(dataset, checkpoint, tmp_path, scores, monkeypatch):
    scores(0.1, 0.9, 0.5)
    weights = []
    real = CMRTrainer._retrieval_metrics

    def noted(self, prediction):
        weights.append((self.learner.network.state_dict(), self.model.words.vectors.weight))
        weights[-1] = (
            {name: value.clone() for name, value in weights[-1][0].items()},
            weights[-1][1].detach().clone(),
        )
        return real(self, prediction)

    monkeypatch.setattr(CMRTrainer, "_retrieval_metrics", noted)
    run = finetune(
        checkpoint, dataset, "toy", tmp_path, FinetuneSettings(1e-4), training=SMALL | {"num_train_epochs": 2}
    )
    assert run.best_epoch == 1
    assert not changed(weights[1][0], state_of(tmp_path))
    assert changed(weights[0][0], weights[1][0]) >= {"features.0.weight", "features.10.weight"}
    assert torch.equal(cmr_hub.from_pretrained(tmp_path).model.words.vectors.weight, weights[1][1])


def test_at_no_learning_rate_the_encoder_stays_and_the_method_learns(dataset, checkpoint, tmp_path, scores):
    scores(0.1, 0.2)
    finetune(checkpoint, dataset, "toy", tmp_path, FinetuneSettings(0.0, FREEZE), training=SMALL)
    assert not changed(state_of(checkpoint), state_of(tmp_path))
    assert changed(load_file(checkpoint / "model.safetensors"), load_file(tmp_path / "model.safetensors"))


@pytest.mark.slow
def test_an_interrupted_run_goes_on(dataset, checkpoint, tmp_path, scores, monkeypatch):
    two = {"training": SMALL | {"num_train_epochs": 2}}
    scores(0.1, 0.2, 0.3)
    finetune(checkpoint, dataset, "toy", tmp_path / "whole", FinetuneSettings(1e-2, FREEZE), **two)
    scores(0.1, 0.2)
    with pytest.raises(StopIteration):  # as if it had been interrupted
        finetune(checkpoint, dataset, "toy", tmp_path / "resumed", FinetuneSettings(1e-2, FREEZE), **two)
    with pytest.raises(InputError, match="add --resume to go on"):
        finetune(checkpoint, dataset, "toy", tmp_path / "resumed", FinetuneSettings(1e-2, FREEZE), **two)
    scores(0.2, 0.3)
    run = finetune(
        checkpoint, dataset, "toy", tmp_path / "resumed", FinetuneSettings(1e-2, FREEZE), resume=True, **two
    )
    assert run.best_epoch == 2
    whole, resumed = state_of(tmp_path / "whole"), state_of(tmp_path / "resumed")
    assert whole.keys() == resumed.keys()
    for name, weights in whole.items():
        assert_trained_alike(resumed[name], weights)


def test_what_was_fitted_to_features_stays_and_other_callbacks_see_features_as_they_are(
    dataset, checkpoint, tmp_path, scores, monkeypatch
):
    scores(0.1, 0.2)
    seen = []

    class Curious(TrainerCallback):
        def on_train_begin(self, args, state, control, train_dataloader, **kwargs):
            seen.append(train_dataloader.dataset[:6])

        on_epoch_end = on_train_begin

    class Forbidden(FitToFeatures):
        def on_train_begin(self, *args, **kwargs):
            pytest.fail("fitted again")

    monkeypatch.setattr(cmr_hub.DANModel, "training_callbacks", lambda self: [Curious(), Forbidden()])
    finetune(checkpoint, dataset, "toy", tmp_path, FinetuneSettings(1e-2, FREEZE), training=SMALL)
    images = dataset["train"]["image"][:3]
    start = cmr_hub.from_pretrained(checkpoint).processor(images=images)["region_features"]
    tuned = cmr_hub.from_pretrained(tmp_path).processor(images=images)["region_features"]
    assert not torch.allclose(start, tuned, atol=1e-2)
    for found, expected in zip(seen, (start, tuned), strict=True):
        torch.testing.assert_close(found["region_features"], expected.repeat_interleave(2, 0), atol=1e-2, rtol=1e-2)
        assert found["items"].tolist() == [0, 0, 1, 1, 2, 2]


def test_together_an_image_goes_through_the_network_once_for_its_texts(
    dataset, checkpoint, tmp_path, scores, monkeypatch
):
    scores(0.1, 0.2)
    sizes = []
    real = TuningTrainer.compute_loss

    def noted(self, model, inputs, *args, **kwargs):
        if model.training:
            sizes.append((len(inputs["rows"]), len(inputs["network_inputs"])))
        return real(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(TuningTrainer, "compute_loss", noted)
    finetune(checkpoint, dataset, "emoji", tmp_path, FinetuneSettings(1e-5, FREEZE, together=True), training=SMALL)
    assert sizes == [(18, 9)] * 4


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dscmr", "dcmh", "dcca"])
def test_methods_with_other_losses_features_and_callbacks(dataset, cache, tmp_path, scores, method):
    train(recipe(method), dataset, "toy", tmp_path / "start", protocols=["dscmr"])
    scores(0.1, 0.2)
    options = {"training": {"num_train_epochs": 1}, "protocols": ["dscmr"]}
    run = finetune(tmp_path / "start", dataset, "toy", tmp_path / "tuned", FinetuneSettings(1e-3, "stage3"), **options)
    assert run.results[0]["protocol"] == "dscmr"
    assert cmr_hub.from_pretrained(tmp_path / "tuned").model.config.model_type == method
    names = changed(state_of(tmp_path / "start"), state_of(tmp_path / "tuned"))
    assert {name.split(".")[0] for name in names} == {"stage4", "conv5"}
    assert not any("running" in name or "tracked" in name for name in names)  # the batch norms' statistics


def test_a_tuned_run_has_a_row_of_its_own_and_its_card_says_so(dataset, checkpoint, tmp_path, scores):
    scores(0.1, 0.2)
    run = finetune(checkpoint, dataset, "toy", tmp_path, FinetuneSettings(1e-2, FREEZE), training=SMALL)
    (table,) = make_tables(find_checkpoints([checkpoint, tmp_path]))
    assert len(table.rows) == 2
    assert sum(f"tuned.freeze={FREEZE}" in row.title for row in table.rows) == 1
    run.dataset = "emoji"
    card = card_content(run, "cmr/toy", json.loads((tmp_path / "processor_config.json").read_text()))
    assert card.hyperparameters["tuned freeze"] == FREEZE


def test_the_command_line(dataset, checkpoint, tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr("cmr_hub.data.load_dataset", lambda name, data_dir: dataset)
    monkeypatch.setattr("cmr_hub.training.finetune.finetune", lambda *args, **kwargs: given.update(kwargs, args=args))
    words = ["finetune", "--checkpoint", str(checkpoint), "--dataset", "emoji", "--output-dir", str(tmp_path)]
    words += ["--freeze", "features.3", "--group-texts", "--batch-size", "9", "--training", "warmup_steps=0"]
    assert cmr(words) == 0
    assert given["args"] == (str(checkpoint), dataset, "emoji", tmp_path, FinetuneSettings(1e-5, "features.3", True))
    assert given["training"] == {
        "num_train_epochs": 2,
        "learning_rate": 1e-4,
        "per_device_train_batch_size": 9,
        "warmup_steps": 0,
    }
    assert given["protocols"] == ("instance",)


def test_what_cannot_be_tuned(dataset, checkpoint, tmp_path):
    def refused(folder, message, error=InputError):
        with pytest.raises(error, match=message):
            finetune(folder, dataset, "toy", tmp_path / "out", FinetuneSettings(), training=SMALL)

    with pytest.raises(InputError, match="is the checkpoint itself"):
        finetune(checkpoint, dataset, "toy", checkpoint, FinetuneSettings(), training=SMALL)
    with pytest.raises(InputError, match=r"has no part 'features\.99'"):
        finetune(checkpoint, dataset, "toy", tmp_path / "out", FinetuneSettings(freeze="features.99"), training=SMALL)

    released = DatasetDict(
        train=feature_dataset(60), validation=feature_dataset(20, 1, "val"), test=feature_dataset(20, 2, "test")
    )
    for method, config in (("cca", {"embed_dim": 4}), ("dscmr", {"hidden_dim": 8, "embed_dim": 4})):
        on_features = load_recipe(method).changed(
            encoders={"image": "precomputed", "text": "precomputed"},
            config=config,
            training={} if method == "cca" else {"num_train_epochs": 1},
        )
        train(on_features, released, "toy", tmp_path / method)
    refused(tmp_path / "cca", "is of no method that learns by gradient")
    refused(tmp_path / "dscmr", "The image encoder 'precomputed' of .* is none whose weights a checkpoint could keep")

    cmr_hub.from_pretrained(checkpoint).save_pretrained(tmp_path / "bare")
    refused(tmp_path / "bare", "training_run.json", CheckpointError)


def test_other_classes_than_those_that_were_learned_are_refused(tmp_path, monkeypatch):
    """With as many classes of other names the checkpoint would take one for another."""
    train(quick_recipe(num_train_epochs=1), feature_splits(), "toy", tmp_path / "start")
    monkeypatch.setattr(finetune_module, "_check", lambda retriever, output_dir: (retriever.model, None))
    features = Features({**feature_dataset().features, "label": ClassLabel(names=["x", "y", "z"])})
    others = DatasetDict({name: split.cast(features) for name, split in feature_splits().items()})
    with pytest.raises(InputError, match=r"start was trained on the classes a, b, c, and these data have x, y, z"):
        finetune(tmp_path / "start", others, "toy", tmp_path / "out", FinetuneSettings(), training=SMALL)


def test_the_tuned_encoder_has_training_images_of_its_own_to_compare_with(
    dataset, checkpoint, tmp_path, scores, monkeypatch
):
    monkeypatch.setattr(finetune_module, "MIN_ROWS", 30)
    monkeypatch.setattr("cmr_hub.retrieval.image_domain.MIN_ROWS", 30)
    scores(0.1, 0.2)
    finetune(checkpoint, dataset, "toy", tmp_path, FinetuneSettings(1e-2, FREEZE), training=SMALL)
    tuned = cmr_hub.from_pretrained(tmp_path)
    assert tuned.image_domain is not None
    features = tuned.processor(images=dataset["train"]["image"][1:4])["region_features"]
    assert not tuned.image_domain.is_far(features.numpy()).any()
