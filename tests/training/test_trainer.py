import logging

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

import cmr_hub
from closeness import assert_trained_alike
from cmr_hub.errors import InputError
from cmr_hub.evaluation import get_protocol
from cmr_hub.training.datasets import make_pairs, make_processor
from cmr_hub.training.trainer import CMRTrainer, mean_cosine
from toys import feature_dataset

ENCODERS = {"image": "precomputed", "text": "precomputed"}


def make_trainer(folder, model_class=cmr_hub.DSCMRModel, protocol="dscmr", pairs=None, **settings):
    dataset = feature_dataset(48)
    pairs = pairs or make_pairs(dataset, make_processor(ENCODERS, dataset))
    torch.manual_seed(0)
    config = cmr_hub.DSCMRConfig(image_dim=6, text_dim=4, hidden_dim=16, embed_dim=8, num_labels=3)
    arguments = TrainingArguments(
        output_dir=str(folder),
        eval_strategy="epoch",
        logging_strategy="epoch",
        save_strategy="no",
        label_names=["labels"],
        remove_unused_columns=False,
        report_to="none",
        use_cpu=True,
        **{"num_train_epochs": 2, "per_device_train_batch_size": 16, "learning_rate": 1e-2, **settings},
    )
    return CMRTrainer(model_class(config), arguments, pairs, pairs, get_protocol(protocol))


def test_each_epoch_logs_loss_terms_and_both_directions(tmp_path, caplog):
    trainer = make_trainer(tmp_path)
    with caplog.at_level(logging.INFO):
        trainer.train()
    lines = [record.message for record in caplog.records if record.message.startswith("Epoch")]
    assert len(lines) == 2
    assert lines[0].startswith("Epoch 1/2  loss ")
    assert "image_to_text/map 0." in lines[0]
    assert "text_to_image/map 0." in lines[0]
    losses = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert {"J1", "J2", "J3"} <= set(losses[0])
    assert losses[1]["loss"] < losses[0]["loss"]
    terms = losses[0]
    assert terms["loss"] == pytest.approx(terms["J1"] + 1e-3 * terms["J2"] + 1e-1 * terms["J3"], rel=1e-3)


def test_a_run_is_repeatable(tmp_path):
    weights = []
    for attempt in range(2):
        trainer = make_trainer(tmp_path / str(attempt))
        trainer.train()
        weights.append(trainer.model.shared.weight.detach().clone())
    assert_trained_alike(*weights)


def test_a_collapsed_space_is_warned_of(tmp_path, caplog):
    trainer = make_trainer(tmp_path)
    with torch.no_grad():
        trainer.model.text_branch.weight.zero_()
    with caplog.at_level(logging.WARNING):
        trainer.evaluate()
    warnings = [record.message for record in caplog.records if "collapsed" in record.message]
    assert len(warnings) == 1
    assert warnings[0].startswith("The text embeddings have collapsed")


def test_mean_cosine():
    rows = torch.nn.functional.normalize(torch.randn(7, 3), dim=1)
    cosines = [(rows[i] @ rows[j]).item() for i in range(7) for j in range(7) if i != j]
    assert mean_cosine(rows) == pytest.approx(sum(cosines) / len(cosines), abs=1e-6)


def test_a_methods_own_callbacks_take_part(tmp_path):
    class CountsEpochs(TrainerCallback):
        epochs = 0

        def on_epoch_begin(self, *args, **kwargs):
            self.epochs += 1

    counter = CountsEpochs()

    class WithCallback(cmr_hub.DSCMRModel):
        config_class = cmr_hub.DSCMRConfig

        def training_callbacks(self):
            return [counter]

    make_trainer(tmp_path, WithCallback).train()
    assert counter.epochs == 2


def test_classes_are_needed_for_a_class_protocol(tmp_path):
    dataset = feature_dataset(8)
    pairs = make_pairs(dataset.remove_columns("label"), make_processor(ENCODERS, dataset))
    with pytest.raises(InputError, match="no label column"):
        make_trainer(tmp_path, pairs=pairs)


def test_an_epoch_is_judged_on_the_evaluation_pairs_alone(tmp_path):
    (protocol,) = make_trainer(tmp_path, protocol="djsrh-pair").selection.protocols
    assert (protocol.gallery, protocol.gallery_view, protocol.cut_off) == ("test", "target", 48)  # of 48 items
    assert make_trainer(tmp_path, protocol="dscmr-reranked").selection.protocols[0].rerank is None


def test_transformers_own_trainer_finds_a_models_inputs_by_its_signature(tmp_path):
    pairs = feature_dataset(32)
    rows = pairs.map(lambda row: {"labels": [float(row["label"] == k) for k in range(3)]}, load_from_cache_file=False)
    torch.manual_seed(0)
    model = cmr_hub.DSCMRModel(cmr_hub.DSCMRConfig(image_dim=6, text_dim=4, hidden_dim=16, embed_dim=8, num_labels=3))
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=3,
        learning_rate=1e-2,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
    )
    trainer = Trainer(model, arguments, train_dataset=rows)  # which drops the columns "id" and "label"
    before = trainer.evaluate(rows)["eval_loss"]
    trainer.train()
    assert trainer.evaluate(rows)["eval_loss"] < before
