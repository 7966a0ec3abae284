"""Train a checkpoint on, its image encoder's network along with it, and see what that adds to a frozen encoder."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import torch
from datasets import Dataset, DatasetDict
from torch import nn
from transformers import TrainerCallback, TrainingArguments, set_seed

from cmr_hub.data.base import check_splits, searched_split
from cmr_hub.data.columns import column_of, read_column
from cmr_hub.data.labels import class_names, has_labels, is_labelled
from cmr_hub.encoders.own_weights import OwnWeightsEncoder
from cmr_hub.encoders.spec import EncoderSpec
from cmr_hub.errors import InputError
from cmr_hub.evaluation import Protocol, evaluate
from cmr_hub.hub.weights import weights_digest
from cmr_hub.modeling.modeling_cmr import ClosedFormCMRModel, CMRModel
from cmr_hub.modeling.standardizer import FitToFeatures
from cmr_hub.retrieval.image_domain import MIN_ROWS, ImageDomain, pooled
from cmr_hub.retrieval.retriever import Retriever
from cmr_hub.utils.messages import name_some
from cmr_hub.utils.processes import this_process

from .coverage import report_coverage
from .datasets import texts_and_labels
from .image_datasets import NETWORK_INPUTS, PLACES, ROWS_AT_ONCE, ImagePairs, ImageSource, run_frozen
from .network_parts import cut_after
from .recipe import Recipe, check_settings, config_types, load_recipe
from .resuming import last_state
from .run import TRAINER_FOLDER, TrainingRun, result_entry, take_finished
from .selection import Selection
from .splits import fit_to_splits, measured_split, warn_of_measured_split, with_train_rows, with_validation
from .train import check_parts, check_protocols, selection_protocols, training_arguments
from .trainer import CMRTrainer, ItemSampler

logger = logging.getLogger(__name__)

MAX_DOMAIN_IMAGES = 1000  # that say what the training images are like; all are encoded anew


@dataclasses.dataclass(frozen=True)
class FinetuneSettings:
    """What of an image encoder learns, and how fast.

    Attributes:
        encoder_learning_rate: the network's; the method's own is among the TrainingArguments. 0 makes a control, which
            says what further training of the method alone adds.
        freeze: the last part of the network that stays as it is, and all before it with it ("blocks.4", "layer3");
            None where all of it learns. What is frozen runs once an image, not once a step.
        together: whether the texts of an image stay together in an epoch's order. A batch then has fewer images
            than texts, each of which goes through the network once: far fewer passes, and fewer wrong answers a batch.
    """

    encoder_learning_rate: float = 1e-5
    freeze: str | None = None
    together: bool = False


def finetune(
    checkpoint: str | Path,
    dataset: DatasetDict,
    dataset_name: str,
    output_dir: Path,
    tuning: FinetuneSettings,
    *,
    training: Mapping[str, Any],
    seed: int = 0,
    protocols: Sequence[str | Protocol] = ("instance",),
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    data_name: str | None = None,
    data_dir: Path | None = None,
) -> TrainingRun:
    """Train a checkpoint on together with its image encoder, and measure it on the test split.

    The method's own loss, callbacks and batches are those that trained it; only what it learned from the features
    before its first step (their means, say) stays. The epoch is chosen on validation data, and the start counts as
    epoch 0: where no epoch is better, the start is what is saved. Batch norms keep their statistics, and what the
    frozen part of the network gives is rounded to half precision while the rest learns.

    Args:
        checkpoint: folder or repo id of what `train` made.
        dataset: as for [`train`](training.train.train).
        dataset_name: as `cmr_hub.data` knows it.
        output_dir: receives model, processor and `training_run.json`.
        tuning: what of the encoder learns.
        training: TrainingArguments in which it differs from the checkpoint's training.
        seed: of everything that chance decides.
        protocols: each gives a result on the test split; the first also defines the validation metric.
        resume: go on from the last saved epoch of an interrupted run in `output_dir`; a finished one is returned.
        overwrite: train over what `output_dir` holds, but for an interrupted run that `resume` goes on with.
        command: for the record.
        data_name: as for [`train`](training.train.train).
        data_dir: likewise.

    Raises:
        InputError: the method does not learn by gradient or cannot be searched with, its image encoder has no network
            whose weights could be saved, or the network no part `freeze`; the data have other classes than those that
            it learned; and whatever `train` refuses.
        CheckpointError: the checkpoint was not made by `train`.
    """
    retriever = Retriever.from_pretrained(checkpoint)
    output_dir = Path(output_dir)
    model, encoder = _check(retriever, output_dir)
    check_splits(dataset, ["train"], dataset_name)
    protocols = check_protocols(protocols, type(model), has_classes=is_labelled(dataset))
    _check_classes(model, dataset["train"], retriever.name)
    start_folder = cast(Path, retriever.folder)
    start = TrainingRun.load(start_folder)
    recipe = recipe_of(start).changed(training=training)
    splits = with_validation(with_train_rows(dataset, recipe.train_rows, dataset_name))
    protocols = fit_to_splits(protocols, splits)
    check_parts(protocols, model)
    warn_of_measured_split(splits, dataset_name)
    tuned = {"from": str(checkpoint), **dataclasses.asdict(tuning)}
    origin = {"data_name": data_name, "data_dir": None if data_dir is None else str(data_dir)}
    run = TrainingRun.of(recipe, dataset, dataset_name, seed, command, tuned=tuned, **origin)
    if finished := take_finished(run, output_dir, protocols, resume=resume, overwrite=overwrite):
        return finished
    report_coverage(retriever.processor.text_encoder, dataset["train"])
    learner, pairs = _make_splits(retriever, splits, ("train", protocols[0].selection_split), recipe, tuning)
    set_seed(seed)
    logger.info("%s on %s with its image encoder, seed %d", recipe.title, dataset_name, seed)
    folder = output_dir / TRAINER_FOLDER
    selection = selection_protocols(recipe, protocols, model, has_labels(dataset["train"].column_names))
    chosen_by = "; and ".join(protocol.describe() for protocol in selection)
    request = {**run.request, "epoch_chosen_by": chosen_by, "start": weights_digest(start_folder)}
    started = time.perf_counter()
    trainer = _make_trainer(model, learner, pairs, recipe, tuning, selection, folder, seed)
    trainer.train(resume_from_checkpoint=last_state(folder, request, resume=resume, overwrite=overwrite))
    trainer.release()
    run.seconds = round(time.perf_counter() - started, 1)
    run.note_epochs(trainer.state)
    if run.best_epoch:
        encoder.keep_weights()
        retriever.image_domain = _image_domain(encoder, splits["train"])
    else:
        logger.info("No epoch is better on validation data than the start, which is kept: tuning added nothing.")
        retriever = Retriever.from_pretrained(checkpoint)

    def finish() -> TrainingRun:
        retriever.save_pretrained(output_dir)
        run.weights = weights_digest(output_dir)
        stored = Retriever.from_pretrained(output_dir)
        split = measured_split(splits)
        gallery = searched_split(dataset if split in dataset else splits)
        for protocol in protocols:
            result = evaluate(stored, splits[split], protocol, gallery)
            logger.info("Measured on the %s split, %d s of tuning\n%s", split, run.seconds, result.table())
            run.results.append(result_entry(result, split, seed))
        run.save(output_dir)
        shutil.rmtree(folder, ignore_errors=True)  # last: until then the run can be resumed
        return run

    return this_process().run_on_main(finish)


def recipe_of(run: TrainingRun) -> Recipe:
    """The recipe that a run was trained by."""
    recipe = load_recipe(run.method, run.dataset)
    names = ("captions", "augmentations", "selection", "training", "early_stopping_patience", "train_rows")
    return msgspec.structs.replace(
        recipe,
        encoders={modality: EncoderSpec.parse(spec) for modality, spec in run.recipe["encoders"].items()},
        config=check_settings("config field", run.recipe["config"], config_types(run.method)),
        **{name: run.recipe[name] for name in names if name in run.recipe},
    )


def _check(retriever: Retriever, output_dir: Path) -> tuple[CMRModel, OwnWeightsEncoder]:
    """The model and the image encoder, which can be trained."""
    model, encoder = retriever.model, retriever.processor.image_encoder
    if not isinstance(model, CMRModel) or isinstance(model, ClosedFormCMRModel):
        raise InputError(f"{retriever.name} is of no method that learns by gradient: nothing would reach its encoder.")
    if model.answers_questions:
        raise InputError(f"{retriever.name} answers questions and cannot be searched with: tune one that can be.")
    if not isinstance(encoder, OwnWeightsEncoder):
        raise InputError(
            f"The image encoder {encoder.name!r} of {retriever.name} is none whose weights a checkpoint could keep: "
            "train one with efficientnet-lite0 or a network of torchvision."
        )
    if retriever.folder is not None and output_dir.resolve() == retriever.folder.resolve():
        raise InputError(f"{output_dir} is the checkpoint itself: give another folder for what becomes of it.")
    return model, encoder


def _check_classes(model: CMRModel, train: Dataset, name: str | None) -> None:
    """Refuse data of other classes than those that a supervised model tells apart: it would take one for another.

    Raises:
        InputError: they are.
    """
    learned = [model.config.id2label[row] for row in sorted(model.config.id2label)]
    is_named = any(label != f"LABEL_{row}" for row, label in enumerate(learned))
    if model.supervision == "unsupervised" or not is_named or not has_labels(train.column_names):
        return
    if (found := class_names(train)) != learned:
        raise InputError(
            f"{name} was trained on the classes {name_some(learned)}, and these data have {name_some(found)}: give "
            "data of the same classes, or train a checkpoint on these by `cmr train`."
        )


def _image_domain(encoder: OwnWeightsEncoder, train: Dataset) -> ImageDomain | None:
    """What the training images are like to the tuned encoder; None of few."""
    if len(train) < MIN_ROWS:
        return None
    step = -(-len(train) // MAX_DOMAIN_IMAGES)
    images = read_column(train.select(range(0, len(train), step)), "image")
    batches = (images[start : start + ROWS_AT_ONCE] for start in range(0, len(images), ROWS_AT_ONCE))
    return ImageDomain.fit(np.concatenate([pooled(encoder.encode(batch).numpy()) for batch in batches]))


def _make_splits(
    retriever: Retriever, dataset: DatasetDict, names: Sequence[str], recipe: Recipe, tuning: FinetuneSettings
) -> tuple[nn.Module, list[ImagePairs]]:
    """The part of the image network that learns, and those splits as pairs for it."""
    encoder = cast(OwnWeightsEncoder, retriever.processor.image_encoder)
    frozen: nn.Module = nn.Identity()
    rest = encoder.network
    if tuning.freeze is not None:
        frozen, rest = cut_after(encoder.network, tuning.freeze)
    learner = AsWhenUsed(rest.requires_grad_(True))

    def pairs(split: Dataset) -> ImagePairs:
        tensors = texts_and_labels(split, retriever.processor, recipe.captions)
        images = read_column(split, column_of(split, "image", encoder.accepts_raw_input))
        return ImagePairs(ImageSource(encoder, learner, run_frozen(encoder, frozen, images)), **tensors)

    return learner, [pairs(dataset[name]) for name in names]


def _make_trainer(
    model: CMRModel,
    learner: nn.Module,
    splits: Sequence[ImagePairs],
    recipe: Recipe,
    tuning: FinetuneSettings,
    selection: Sequence[Protocol],
    folder: Path,
    seed: int,
) -> TuningTrainer:
    arguments = training_arguments(recipe, folder, seed, metric=Selection.of(selection).metric)
    arguments.eval_on_start = True
    arguments.per_device_eval_batch_size = ROWS_AT_ONCE  # images take more memory than features
    train, validation = splits
    return TuningTrainer(model, arguments, train, validation, selection, learner=learner, tuning=tuning)


class AsWhenUsed(nn.Module):
    """A network that learns in evaluation mode: its batch norms keep their statistics, and nothing drops out."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.eval()

    def train(self, mode: bool = True) -> AsWhenUsed:
        return super().train(False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.network(inputs)


class TuningTrainer(CMRTrainer):
    """[`CMRTrainer`] that trains the network behind the features too.

    Until [`release`] that network is a part of the model, so that the Trainer's optimiser, clipping and saved states
    hold it as well.

    Args:
        model, args, train_dataset, eval_dataset, protocol: as for [`CMRTrainer`]; the data sets are [`ImagePairs`].
        learner: the part of the image encoder's network that learns.
        tuning: how.
    """

    PART = "tuned_encoder"

    def __init__(
        self,
        model: CMRModel,
        args: TrainingArguments,
        train_dataset: ImagePairs,
        eval_dataset: ImagePairs,
        protocol: Protocol | Sequence[Protocol],
        *,
        learner: nn.Module,
        tuning: FinetuneSettings,
    ):
        self.learner, self.tuning = learner, tuning
        self.encoder = train_dataset.image_source.encoder
        model.add_module(self.PART, learner)
        super().__init__(model, args, train_dataset, eval_dataset, protocol)
        for callback in list(self.callback_handler.callbacks):
            if isinstance(callback, FitToFeatures):
                self.remove_callback(callback)
        self.add_callback(StartCompetes())

    def release(self) -> None:
        """Make the model what it was, without the network."""
        delattr(self.model, self.PART)

    def compute_loss(self, model, inputs, *args: Any, **kwargs: Any):
        inputs = dict(inputs)
        features = self.encoder.as_features(self.learner(inputs.pop(NETWORK_INPUTS)))
        inputs |= self.encoder.as_inputs(features[inputs.pop(PLACES)])
        return super().compute_loss(model, inputs, *args, **kwargs)

    def create_optimizer(self, *args: Any) -> torch.optim.Optimizer:
        """The Trainer's own, with the network in groups of their own learning rate."""
        optimizer = super().create_optimizer(*args)
        of_network = set(self.learner.parameters())
        for group in list(optimizer.param_groups):
            moved = [parameter for parameter in group["params"] if parameter in of_network]
            group["params"] = [parameter for parameter in group["params"] if parameter not in of_network]
            if moved:
                optimizer.add_param_group({**group, "params": moved, "lr": self.tuning.encoder_learning_rate})
        return optimizer

    def _get_train_sampler(self, train_dataset=None):
        if self.tuning.together:
            return ItemSampler(self.train_dataset.caption_to_image)
        return super()._get_train_sampler(train_dataset)


class StartCompetes(TrainerCallback):
    """Lets what a training starts from compete with its epochs, as epoch 0."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        if state.global_step == 0:
            state.best_metric = metrics[args.metric_for_best_model]
