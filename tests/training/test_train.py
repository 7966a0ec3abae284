import shutil

import numpy as np
import pytest
import torch
from datasets import DatasetDict
from safetensors.torch import load_file

import cmr_hub
from closeness import assert_figures, assert_results, assert_trained_alike
from cmr_hub.errors import InputError
from cmr_hub.evaluation import evaluate, get_protocol
from cmr_hub.training import datasets as pairs_module
from cmr_hub.training.datasets import Pairs
from cmr_hub.training.recipe import DatasetChanges, load_recipe
from cmr_hub.training.run import TRAINER_FOLDER, TrainingRun
from cmr_hub.training.test_selection import WatchedEpochs
from cmr_hub.training.train import image_domain_of, make_features, train, training_arguments
from cmr_hub.training.trainer import CMRTrainer
from small_trainings import feature_splits, quick_recipe
from tiny_text_models import sentence_model
from toys import feature_dataset, feature_retriever, image_dataset, raw_retriever


@pytest.fixture
def dataset():
    return feature_splits()


@pytest.mark.parametrize("method", ["dscmr", "cca"])
def test_from_recipe_to_measured_checkpoint(dataset, tmp_path, method):
    run = train(quick_recipe(method), dataset, "toy", tmp_path, command="cmr train …")
    retriever = cmr_hub.from_pretrained(tmp_path)
    assert retriever.model.config.model_type == method
    metrics = evaluate(retriever, dataset["test"], "dscmr").metrics
    assert_figures(run.results[0]["metrics"], metrics)
    assert TrainingRun.load(tmp_path) == run
    assert not (tmp_path / TRAINER_FOLDER).exists()
    assert metrics["map"] > (0.65 if method == "dscmr" else 0.45)  # chance is about 0.36


def test_the_epoch_kept_is_the_best_on_validation_data(dataset, tmp_path, monkeypatch):
    scores = iter([0.3, 0.9, 0.5, 0.4])
    weights = []

    def scored(self, prediction):
        weights.append(self.model.shared.weight.detach().clone())
        return {"map": next(scores)}

    monkeypatch.setattr(CMRTrainer, "_retrieval_metrics", scored)
    run = train(quick_recipe(), dataset, "toy", tmp_path)
    assert (run.best_epoch, run.epochs) == (2, 4)
    assert torch.equal(cmr_hub.from_pretrained(tmp_path).model.shared.weight, weights[1])


def test_early_stopping(dataset, tmp_path, monkeypatch):
    scores = iter([0.9, 0.5, 0.4, 0.3])
    monkeypatch.setattr(CMRTrainer, "_retrieval_metrics", lambda self, prediction: {"map": next(scores)})
    run = train(quick_recipe().changed(early_stopping_patience=2), dataset, "toy", tmp_path)
    assert (run.best_epoch, run.epochs) == (1, 3)


def test_an_interrupted_run_goes_on(dataset, tmp_path, monkeypatch):
    whole = train(quick_recipe(), dataset, "toy", tmp_path / "whole")
    real, calls = CMRTrainer._retrieval_metrics, []

    def interrupted(self, prediction):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, prediction)

    monkeypatch.setattr(CMRTrainer, "_retrieval_metrics", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(quick_recipe(), dataset, "toy", tmp_path / "resumed")
    monkeypatch.setattr(CMRTrainer, "_retrieval_metrics", real)
    with pytest.raises(InputError, match="add --resume to go on"):
        train(quick_recipe(), dataset, "toy", tmp_path / "resumed")
    resumed = train(quick_recipe(), dataset, "toy", tmp_path / "resumed", resume=True)
    assert_results(resumed.results, whole.results)
    rows = np.ones((1, 6), dtype=np.float32)
    first, second = (cmr_hub.from_pretrained(tmp_path / name).encode_images(rows) for name in ("whole", "resumed"))
    assert_trained_alike(first, second)


def test_half_precision_is_measured_as_stored(dataset, tmp_path):
    run = train(quick_recipe(), dataset, "toy", tmp_path, half=True)
    assert_figures(
        run.results[0]["metrics"], evaluate(cmr_hub.from_pretrained(tmp_path), dataset["test"], "dscmr").metrics
    )
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}


def test_test_selection_is_another_protocol(dataset, tmp_path, monkeypatch):
    seen = []
    real = pairs_module.make_pairs
    monkeypatch.setattr(
        pairs_module, "make_pairs", lambda split, *rest: seen.append(split["id"][0]) or real(split, *rest)
    )
    train(quick_recipe(num_train_epochs=1), dataset, "toy", tmp_path, protocols=["dscmr-test-selected"])
    assert seen[1].startswith("test-")


def test_the_first_protocol_chooses_the_epoch_and_all_are_measured(dataset, tmp_path):
    run = train(quick_recipe(num_train_epochs=1), dataset, "toy", tmp_path, protocols=["dscmr", "instance"])
    assert [entry["protocol"] for entry in run.results] == ["dscmr", "instance"]
    assert "image_to_text/recall@1" in run.results[1]["metrics"]


def test_the_best_epoch_on_the_test_split_is_told_beside_the_one_that_is_kept(dataset, tmp_path):
    protocols = ["dscmr", "dscmr-test-selected"]
    watched = train(quick_recipe(num_train_epochs=4), dataset, "toy", tmp_path / "both", protocols=protocols)
    alone = train(
        quick_recipe(num_train_epochs=4), dataset, "toy", tmp_path / "alone", protocols=["dscmr-test-selected"]
    )
    plain = train(quick_recipe(num_train_epochs=4), dataset, "toy", tmp_path / "plain")
    entries = {entry["protocol"]: entry for entry in watched.results}
    assert_results([entries["dscmr"]], plain.results)
    best = entries["dscmr-test-selected"]
    assert best["epoch"] == alone.best_epoch
    assert_figures(best["metrics"], alone.results[0]["metrics"])
    assert best["metrics"]["map"] >= entries["dscmr"]["metrics"]["map"]
    assert "epoch chosen on the test split" in best["description"]


def test_the_authors_code_is_another_training_where_the_recipe_knows_it(tmp_path):
    dataset = DatasetDict(train=feature_dataset(120), test=feature_dataset(60, 2, "test"))
    reference = DatasetChanges(
        config={"residual_norm": "rowwise"},
        training={"num_train_epochs": 6, "train_sampling_strategy": "sequential"},
        early_stopping_patience=None,
    )
    recipe = quick_recipe().changed(early_stopping_patience=1)
    protocols = ["dscmr", "dscmr-test-selected"]
    both = train(recipe.changed(test_selected=reference), dataset, "toy", tmp_path / "both", protocols=protocols)
    plain = train(recipe, dataset, "toy", tmp_path / "plain", protocols=["dscmr"])
    alone = train(
        recipe.changed(
            config=reference.config, training=reference.training, early_stopping_patience=None, test_selected=None
        ),
        dataset,
        "toy",
        tmp_path / "alone",
        protocols=protocols[1:],
        held_out=0,
    )
    entries = {entry["protocol"]: entry for entry in both.results}
    assert_results([entries["dscmr"]], plain.results)
    assert_figures(entries["dscmr-test-selected"]["metrics"], alone.results[0]["metrics"])
    assert entries["dscmr-test-selected"]["epoch"] == alone.best_epoch
    assert (alone.epochs, alone.pairs) == (6, 120)
    assert not (tmp_path / "both" / "trainer").exists()
    assert [path.parent.name for path in (tmp_path / "both").rglob("training_run.json")] == ["both"]


def test_what_was_watched_before_an_interruption_counts(dataset, tmp_path, monkeypatch):
    protocols = ["dscmr", "dscmr-test-selected"]
    whole = train(quick_recipe(), dataset, "toy", tmp_path / "whole", protocols=protocols)
    real, calls = WatchedEpochs.on_evaluate, []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    monkeypatch.setattr(WatchedEpochs, "on_evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(quick_recipe(), dataset, "toy", tmp_path / "resumed", protocols=protocols)
    monkeypatch.setattr(WatchedEpochs, "on_evaluate", real)
    resumed = train(quick_recipe(), dataset, "toy", tmp_path / "resumed", protocols=protocols, resume=True)
    assert_results(resumed.results, whole.results)


def test_a_closed_form_has_no_epoch_to_choose(dataset, tmp_path):
    recipe = load_recipe("cca").changed(
        encoders={"image": "precomputed", "text": "precomputed"}, config={"embed_dim": 2}
    )
    run = train(recipe, dataset, "toy", tmp_path, protocols=["dscmr", "dscmr-test-selected"])
    honest, chosen = run.results
    assert_figures(honest["metrics"], chosen["metrics"])


def test_an_epoch_that_is_chosen_on_test_is_not_called_one_chosen_on_validation(dataset, tmp_path):
    with pytest.raises(InputError, match="others do not look: dscmr-test-selected on test, instance on validation"):
        train(quick_recipe(), dataset, "toy", tmp_path, protocols=["dscmr-test-selected", "instance"])


def test_a_method_that_needs_classes_says_so_before_anything_is_encoded(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("cmr_hub.training.train._make_features", None)
    with pytest.raises(InputError, match="dscmr learns from classes, and the training data have no label column"):
        train(quick_recipe(), unlabelled(dataset), "toy", tmp_path)


def test_whole_numbers_stand_for_numbers(dataset, tmp_path):
    recipe = quick_recipe("cca").changed(config={"regularization": 1})
    train(recipe, dataset, "toy", tmp_path)
    assert cmr_hub.from_pretrained(tmp_path).model.config.regularization == 1.0


def test_settings_that_do_not_fit_the_data(dataset, tmp_path):
    with pytest.raises(InputError, match=r"do not fit cca: CCA has at most min\(image_dim, text_dim\) = 4"):
        train(quick_recipe("cca").changed(config={"embed_dim": 5}), dataset, "toy", tmp_path)
    with pytest.raises(InputError, match="config field 'hidden_dim' must be a whole number, and is 'wide'"):
        train(quick_recipe().changed(config={"hidden_dim": "wide"}), dataset, "toy", tmp_path)


def test_training_arguments_of_the_recipe_are_used_but_for_those_that_the_choice_of_the_epoch_needs(tmp_path):
    arguments = training_arguments(quick_recipe(per_device_eval_batch_size=7), tmp_path, 3, metric="map")
    assert (arguments.per_device_eval_batch_size, arguments.seed) == (7, 3)
    with pytest.raises(InputError, match="The training of DSCMR sets eval_strategy, seed itself"):
        training_arguments(quick_recipe(seed=1, eval_strategy="no"), tmp_path, 3, metric="map")
    with pytest.raises(InputError, match=r"training arguments of DSCMR cannot be used: At most one of fp16 and bf16"):
        training_arguments(quick_recipe(fp16=True, bf16=True), tmp_path, 3, metric="map")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("per_device_train_batch_size", 0),
        ("per_device_eval_batch_size", -1),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("weight_decay", float("inf")),
        ("num_train_epochs", 0),
        ("num_train_epochs", float("nan")),
    ],
)
def test_training_arguments_that_no_training_can_start_with(tmp_path, name, value):
    with pytest.raises(InputError, match=rf"training arguments of DSCMR cannot be used: {name} must be .*not {value}"):
        training_arguments(quick_recipe(**{name: value}), tmp_path, 3, metric="map")


PROTOCOLS = [
    get_protocol("dscmr-tie-aware"),
    get_protocol("djsrh-tie-aware", cut_off=10),
    get_protocol("dscmr-reranked", rerank=10),
]


def test_codes_are_measured_alike_from_features_and_from_the_checkpoint(dataset, tmp_path):
    run = train(quick_recipe("sh"), dataset, "toy", tmp_path, protocols=PROTOCOLS)
    retriever = cmr_hub.from_pretrained(tmp_path)
    for protocol, entry in zip(PROTOCOLS, run.results, strict=True):
        metrics = evaluate(retriever, dataset["test"], protocol, dataset["train"]).metrics
        assert_figures(entry["metrics"], metrics)
    assert len({entry["metrics"]["map"] for entry in run.results}) == 3


def test_the_gallery_is_the_whole_training_split_even_where_some_is_held_out(dataset, tmp_path):
    without = DatasetDict(train=dataset["train"], test=dataset["test"])
    protocol = get_protocol("dcmh")
    run = train(quick_recipe(num_train_epochs=1), without, "toy", tmp_path, protocols=["dscmr", protocol])
    metrics = evaluate(cmr_hub.from_pretrained(tmp_path), dataset["test"], protocol, dataset["train"]).metrics
    assert_figures(run.results[1]["metrics"], metrics)


def test_the_encoder_of_a_folder_travels_with_the_checkpoint(tmp_path, private_cache):
    items = image_dataset(tmp_path)
    folder = sentence_model(tmp_path / "tiny")
    encoders = {
        "image": {"name": "pixels", "size": 2},
        "text": {"name": "sentence-transformers", "model": str(folder)},
    }
    recipe = load_recipe("cca").changed(encoders=encoders, config={"embed_dim": 2})
    splits = DatasetDict(train=items, validation=items, test=items)
    run = train(recipe, splits, "toy", tmp_path / "checkpoint")
    shutil.rmtree(folder)
    retriever = cmr_hub.from_pretrained(tmp_path / "checkpoint")
    assert retriever.processor.text_encoder.name == "sentence-transformers/tiny"
    assert_figures(run.results[0]["metrics"], evaluate(retriever, items, "dscmr").metrics)


def test_trainings_share_features(dataset, tmp_path, monkeypatch):
    features = make_features(quick_recipe("sh"), dataset, "toy")
    first = train(quick_recipe("sh"), dataset, "toy", tmp_path / "first", features=features)
    monkeypatch.setattr(pairs_module, "make_pairs", lambda *args: pytest.fail("features are made again"))
    again = train(quick_recipe("sh"), dataset, "toy", tmp_path / "again", features=features)
    assert_results(again.results, first.results)


@pytest.mark.parametrize(
    ("method", "protocol", "message"),
    [
        ("sh", "djsrh-pair", "'djsrh-pair' searches codes of whole pairs, and sh embeds each side by itself"),
        ("dscmr", "dscmr-reranked", "'dscmr-reranked' re-ranks codes, and dscmr is real-valued"),
        ("dscmr", "dscmr(focus=0)", r"'dscmr\(focus=0\)' has a focus, .* dscmr embeds each input as one part"),
    ],
)
def test_a_protocol_that_the_method_has_nothing_for_is_refused_at_once(dataset, tmp_path, method, protocol, message):
    with pytest.raises(InputError, match=message):
        train(quick_recipe(method), dataset, "toy", tmp_path, protocols=["dscmr", protocol])
    assert not list(tmp_path.iterdir())


def test_degenerate_codes_of_the_training_data_are_warned_of(dataset, tmp_path, caplog):
    constant = dataset["train"]["text_features"][0]
    same = dataset["train"].map(
        lambda row, at: {"text_features": constant if at else [x + 1e-3 for x in constant]}, with_indices=True
    )
    train(quick_recipe("sh"), DatasetDict({**dataset, "train": same}), "toy", tmp_path)
    assert "Degenerate codes of the training texts" in caplog.text


def unlabelled(dataset):
    return DatasetDict({name: split.remove_columns("label") for name, split in dataset.items()})


@pytest.mark.parametrize(("method", "protocol"), [("cca", "instance"), ("sh", "instance-tie-aware")])
def test_the_default_protocol_follows_the_data(dataset, tmp_path, method, protocol):
    run = train(quick_recipe(method), unlabelled(dataset), "toy", tmp_path)
    assert [entry["protocol"] for entry in run.results] == [protocol]
    assert run.results[0]["metrics"]["mean_recall"] > 0


def test_a_protocol_by_class_is_refused_before_anything_is_encoded(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("cmr_hub.training.train._make_features", None)
    with pytest.raises(InputError, match=r"'dcmh' measures by class, and this data set has no class .*'instance'"):
        train(quick_recipe("cca"), unlabelled(dataset), "toy", tmp_path, protocols=["instance", "dcmh"])


@pytest.mark.parametrize("regions", [(), (4,)])
def test_a_checkpoint_learns_what_its_training_images_are_like(regions):
    processor = raw_retriever().processor
    kind = torch.randn(300, *regions, 20) * torch.tensor([3.0, 2.0] + [0.1] * 18)
    pairs = Pairs(image_features=kind, text_features=torch.zeros(300, 3))
    domain = image_domain_of(pairs, processor)
    assert domain.is_far(kind.numpy()).mean() < 0.05
    assert domain.is_far(kind.numpy() + 2).all()


def test_of_released_features_nothing_is_learned(dataset):
    processor = make_features(quick_recipe("cca"), dataset, "toy").processor
    assert image_domain_of(Pairs(image_features=torch.zeros(300, 6)), processor) is None


def test_no_checkpoint_is_trained_into_a_gallery(tmp_path):
    cmr_hub.Gallery.from_dataset(feature_dataset(9), feature_retriever()).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="holds a gallery: give another folder for the checkpoint"):
        train(quick_recipe("cca"), feature_splits(), "toy", tmp_path)
    assert not (tmp_path / "config.json").exists()
