"""The epoch that is kept, where several protocols choose it together."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import DatasetDict

import cmr_hub
from closeness import assert_results
from cmr_hub.errors import InputError
from cmr_hub.evaluation import get_protocol, list_protocols
from cmr_hub.methods import METHODS
from cmr_hub.training.evaluate import evaluate_pairs
from cmr_hub.training.recipe import load_recipe, recipe_path
from cmr_hub.training.run import TrainingRun, settings_of
from cmr_hub.training.selection import Selection
from cmr_hub.training.train import make_features, selection_protocols, train
from cmr_hub.training.trainer import CMRTrainer
from small_trainings import feature_splits

BOTH = ("dscmr(focus=0)", "instance(focus=1)")


def make_recipe(**changes):
    return load_recipe("unified").changed(
        encoders={"image": "precomputed", "text": "precomputed"},
        config={"embed_dim": 8, "class_hidden_dim": 8, "item_hidden_dim": 8, "classifier_dim": 8},
        training={"num_train_epochs": 3},
        **{"captions": "set", "selection": BOTH, **changes},
    )


@pytest.fixture
def dataset():
    return feature_splits()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return cmr_hub.UnifiedModel(cmr_hub.UnifiedConfig(image_dim=6, text_dim=4, embed_dim=8, num_labels=3)).eval()


def test_several_protocols_are_measured_by_their_mean(dataset, model):
    pairs = make_features(make_recipe(), dataset, "toy")["validation"]
    values = [model.get_image_features(**pairs.images).detach(), model.get_text_features(**pairs.texts).detach()]
    selection = Selection.of([get_protocol(name) for name in BOTH])
    metrics = selection.measure(model, *values, pairs)
    alone = [evaluate_pairs(model, *values, pairs, get_protocol(name)).metrics for name in BOTH]
    primary = [alone[0]["map"], alone[1]["mean_recall"]]
    assert selection.metric == "selection"
    assert list(metrics.values()) == pytest.approx([np.mean(primary), *primary])
    assert list(metrics) == ["selection", *(f"selection/{name}" for name in BOTH)]


def test_one_protocol_is_measured_by_all_its_metrics(dataset, model):
    pairs = make_features(make_recipe(), dataset, "toy")["validation"]
    values = [model.get_image_features(**pairs.images).detach(), model.get_text_features(**pairs.texts).detach()]
    selection = Selection.of(get_protocol("dscmr"))
    assert selection.metric == "map"
    assert {"image_to_text/map", "text_to_image/map", "map"} <= set(selection.measure(model, *values, pairs))


def test_the_epoch_of_the_best_mean_is_kept_and_recorded(dataset, tmp_path, monkeypatch, caplog):
    scores = iter([0.3, 0.6, 0.5])
    monkeypatch.setattr(CMRTrainer, "_retrieval_metrics", lambda self, prediction: {"selection": next(scores)})
    with caplog.at_level(logging.INFO):
        run = train(make_recipe(), dataset, "toy", tmp_path, protocols=["dscmr"])
    assert (run.best_epoch, run.epochs) == (2, 3)
    assert TrainingRun.load(tmp_path).recipe["selection"] == list(BOTH)
    (line,) = (message for message in caplog.messages if message.startswith("Epoch 2/3"))
    assert line.endswith("selection 0.6000")


@pytest.mark.parametrize(
    ("first", "has_classes", "has_class_part", "chosen"),
    [
        ("dscmr", True, True, list(BOTH)),
        ("dscmr-test-selected", True, True, ["dscmr-test-selected"]),
        ("instance", False, False, ["instance"]),
        ("dscmr", True, False, ["dscmr", "instance"]),
    ],
)
def test_what_cannot_be_measured_chooses_nothing(first, has_classes, has_class_part, chosen):
    config = cmr_hub.UnifiedConfig(image_dim=6, text_dim=4, embed_dim=8, num_labels=3, has_class_part=has_class_part)
    found = selection_protocols(make_recipe(), [get_protocol(first)], cmr_hub.UnifiedModel(config), has_classes)
    assert [protocol.name for protocol in found] == chosen


@pytest.mark.parametrize("method", sorted(METHODS))
def test_methods_that_learn_from_pairs_choose_no_epoch_by_class(method):
    """Of every registered method, under every protocol that may come first, on every data set of its recipe."""
    model = SimpleNamespace(accepts_focus=METHODS[method].has_focus)
    general = load_recipe(method)
    for recipe in (general, *map(general.for_dataset, general.datasets)):
        for name in list_protocols():
            first = get_protocol(name)
            if not recipe.training or first.selection_split == "test":
                continue  # a closed form chooses none, and such a protocol says that it does
            chosen = selection_protocols(recipe, [first], model, has_classes=True)
            relevances = {protocol.relevance for protocol in chosen}
            if METHODS[method].supervision == "unsupervised":
                assert relevances == {"pair"}, (name, chosen)
            elif not recipe.selection:
                assert chosen == [first]


def test_the_classes_of_validation_data_decide_nothing_of_a_method_that_learns_from_pairs(dataset, tmp_path):
    recipe = load_recipe("contrastive").changed(
        encoders={"image": "precomputed", "text": "precomputed"},
        config={"embed_dim": 8},
        training={"num_train_epochs": 5, "per_device_train_batch_size": 50},
        early_stopping_patience=1,
    )
    labels = dataset["validation"]["label"][:]
    wrong = dataset["validation"].remove_columns("label")
    wrong = wrong.add_column("label", [(row + label) % 3 for row, label in enumerate(labels)])
    others = DatasetDict({**dataset, "validation": wrong.cast(dataset["validation"].features)})
    runs = [
        train(recipe, data, "toy", tmp_path / str(number), protocols=["dscmr"])
        for number, data in enumerate((dataset, others))
    ]
    assert runs[0].epochs == runs[1].epochs
    assert runs[0].best_epoch == runs[1].best_epoch
    assert_results(runs[0].results, runs[1].results)
    assert TrainingRun.load(tmp_path / "0").recipe["selection"] == ["instance"]


def test_a_recipe_that_chooses_by_class_without_learning_from_classes_is_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"method: djsrh\nselection: [dscmr-tie-aware]\n{recipe_path('djsrh').read_text()}")
    message = r"DJSRH learns from pairs alone, and protocol 'dscmr-tie-aware' goes by class labels: .* 'instance'"
    with pytest.raises(InputError, match=message):
        load_recipe(path)


def test_data_without_classes_train_the_item_part_alone(dataset, tmp_path):
    unlabelled = DatasetDict({name: split.remove_columns("label") for name, split in dataset.items()})
    run = train(make_recipe(), unlabelled, "toy", tmp_path, protocols=["instance"])
    config = cmr_hub.from_pretrained(tmp_path).model.config
    assert (config.class_dim, config.item_dim) == (0, 8)
    assert [entry["protocol"] for entry in run.results] == ["instance"]


def test_a_protocol_that_chooses_on_the_test_split_is_refused(tmp_path):
    text = recipe_path("contrastive").read_text()
    path = tmp_path / "recipe.yaml"
    path.write_text(f"method: contrastive\nselection: [dscmr-test-selected]\n{text}")
    with pytest.raises(InputError, match="'dscmr-test-selected' chooses the epoch on the test split: name another"):
        load_recipe(path)


def test_runs_of_recipes_without_a_selection_are_recorded_as_before():
    assert "selection" not in settings_of(make_recipe(selection=()))
