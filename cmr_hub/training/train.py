"""Train a method on a data set: from the recipe to a checkpoint folder with its measured results."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import DatasetDict
from huggingface_hub.errors import StrictDataclassError
from transformers import TrainerCallback, TrainingArguments, set_seed

from cmr_hub.data.base import check_splits
from cmr_hub.data.labels import class_counts, class_names, has_labels, is_labelled
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.evaluation import Protocol, default_protocol, get_protocol
from cmr_hub.hub.weights import weights_digest
from cmr_hub.methods import METHODS
from cmr_hub.modeling.codes import warn_if_degenerate
from cmr_hub.modeling.modeling_cmr import ClosedFormCMRModel, CMRModel
from cmr_hub.processing.processing_cmr import CMRProcessor
from cmr_hub.retrieval.image_domain import ImageDomain, pooled
from cmr_hub.retrieval.loading import check_inputs
from cmr_hub.retrieval.retriever import Retriever
from cmr_hub.utils.processes import this_process

from .coverage import report_coverage
from .datasets import FeatureSplits, Pairs
from .distributed import as_if_alone
from .evaluate import embed, measure
from .recipe import Recipe
from .resuming import last_state
from .run import TRAINER_FOLDER, TrainingRun, metrics_entry, result_entry, take_finished
from .selection import Selection
from .splits import HELD_OUT, fit_to_splits, warn_of_measured_split, with_train_rows, with_validation
from .test_selection import WatchedEpochs
from .trainer import CMRTrainer

logger = logging.getLogger(__name__)

MAX_DOMAIN_IMAGES = 5000  # that say what the training images are like
ROWS_AT_ONCE = 256


def train(
    recipe: Recipe,
    dataset: DatasetDict,
    dataset_name: str,
    output_dir: Path,
    *,
    seed: int = 0,
    protocols: Sequence[str | Protocol] = (),
    half: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    callbacks: Sequence[TrainerCallback] = (),
    features: FeatureSplits | None = None,
    held_out: float | None = None,
    data_name: str | None = None,
    data_dir: Path | None = None,
) -> TrainingRun:
    """Train one checkpoint and measure it on the test split; without one, on the validation or training split.

    Of several processes all must call this; the main one alone saves and measures.

    Args:
        recipe: method, encoders, hyper-parameters.
        dataset: a split "train", and "test" and "validation" where the source defines them.
        dataset_name: as `cmr_hub.data` knows it.
        output_dir: receives model, processor and `training_run.json`.
        seed: of everything that chance decides.
        protocols: each gives a result, with the ranks that the gallery has; the first also defines the validation
            metric that chooses the epoch, where the recipe has no `selection` and the method learns from class labels
            (others choose it by recall). Of one that chooses it on the test split instead, the best epoch's figure is
            a result next to those of the epoch that is kept, and says so ("epoch"); where the recipe has
            `test_selected`, it is of another training by these settings. None: the one that the data set has by
            default, see [`~cmr_hub.evaluation.default_protocol`].
        half: store the weights in half precision; the result is measured as stored.
        resume: go on from the last saved epoch of an interrupted run in `output_dir`; a finished one is returned.
        overwrite: train over what `output_dir` holds, but for an interrupted run that `resume` goes on with.
        command: for the record.
        callbacks: what else is to happen while a method learns by gradient.
        features: those of this data set by this recipe's encoders, where other trainings have made them already; see
            [`make_features`].
        held_out: share of the training split on which the epoch is chosen where the data set has no validation split;
            0: none is chosen, and the last is kept. By default a tenth, and 0 of closed forms, which have no epochs;
            tables that compare methods hold the same tenth out of all.
        data_name: what the data are called in the record and in tables, where they are somebody's own.
        data_dir: the folder that they were read from, for the record.

    Raises:
        InputError: the method needs what the data set lacks, there is no training split or too little of it, the
            protocols do not go together, or `output_dir` holds a run that is not to be overwritten, and `resume` is
            not set or asks for another.
    """
    output_dir = Path(output_dir)
    protocols = check_protocols(protocols, METHODS[recipe.method], has_classes=is_labelled(dataset))
    held_out = share_held_out(recipe, dataset, held_out)
    splits = features.splits if features else make_splits(recipe, dataset, dataset_name, held_out)
    protocols = fit_to_splits(protocols, splits)
    origin = {"data_name": data_name, "data_dir": None if data_dir is None else str(data_dir)}
    run = TrainingRun.of(recipe, dataset, dataset_name, seed, command, held_out=held_out, **origin)
    if finished := take_finished(run, output_dir, protocols, resume=resume, overwrite=overwrite):
        return finished
    features = features or _make_features(recipe, dataset, splits)
    processor, pairs = features.processor, features["train"]
    set_seed(seed)
    model = make_model(recipe, processor, dataset)
    if model.answers_questions:
        raise InputError(
            f"{recipe.title} with these settings answers questions and cannot be searched with: train it by "
            "`cmr answer`."
        )
    check_parts(protocols, model)
    model.start_from(processor)
    logger.info("%s on %s: %d training pairs, seed %d", recipe.title, data_name or dataset_name, len(pairs), seed)
    started = time.perf_counter()
    if isinstance(model, ClosedFormCMRModel):
        fit_closed_form(model, pairs)
    else:
        selection: Sequence[Protocol] = ()
        validation = None
        if protocols[0].selection_split in splits:
            selection = selection_protocols(recipe, protocols, model, has_labels(dataset["train"].column_names))
            validation = features[protocols[0].selection_split]
        else:
            logger.info("No pairs are held out: the last epoch is kept.")
        others = [one for one in protocols if one.selection_split != protocols[0].selection_split]
        trained_otherwise = others if recipe.test_selected else []
        watched = [WatchedEpochs(one, features, processor) for one in others if one not in trained_otherwise]
        folder = output_dir / TRAINER_FOLDER
        choosing = [*selection, *(callback.protocol for callback in watched)]
        request = {**run.request, "epoch_chosen_by": [protocol.describe() for protocol in choosing]}
        trainer = _make_trainer(model, recipe, pairs, validation, selection, folder, seed, [*callbacks, *watched])
        trainer.train(resume_from_checkpoint=last_state(folder, request, resume=resume, overwrite=overwrite))
        run.note_epochs(trainer.state)
        for callback in watched:
            epoch, metrics = callback.best(trainer.state)
            run.results.append({**metrics_entry(callback.protocol, "test", metrics, seed), "epoch": epoch})
        for protocol in trained_otherwise:
            entry = _train_as_reference(recipe, dataset, dataset_name, folder, seed, protocol, resume)
            run.results.append(entry)
    run.seconds, run.pairs = round(time.perf_counter() - started, 1), len(splits["train"])

    def finish() -> TrainingRun:
        if model.is_hashing:
            for name, codes in embed(model.eval(), pairs).items():
                warn_if_degenerate(codes, f"training {name.removesuffix('_embeds')}s")
        made = Retriever(model.half() if half else model, processor)
        made.image_domain = image_domain_of(pairs, processor)
        made.save_pretrained(output_dir)
        run.weights = weights_digest(output_dir)
        retriever = Retriever.from_pretrained(output_dir)
        watched = {entry["protocol"] for entry in run.results}
        for protocol in protocols:
            if protocol.name not in watched:
                result = measure(retriever, features, protocol)
                split = features.measured_split
                logger.info("Measured on the %s split, %d s of training\n%s", split, run.seconds, result.table())
                run.results.append(result_entry(result, split, seed if model.is_stochastic else None))
        run.save(output_dir)
        shutil.rmtree(output_dir / TRAINER_FOLDER, ignore_errors=True)  # last: until then the run can be resumed
        return run

    return this_process().run_on_main(finish)


def _train_as_reference(
    recipe: Recipe, dataset: DatasetDict, dataset_name: str, folder: Path, seed: int, protocol: Protocol, resume: bool
) -> dict[str, Any]:
    """The result of another training, as the authors' code has it, with the epoch that is best on the test split.

    Like that code it learns from the whole training split. Its checkpoint is removed with the states of the training.
    """
    reference = recipe.for_protocol(protocol)
    run = train(
        reference,
        dataset,
        dataset_name,
        folder / protocol.name,
        seed=seed,
        protocols=[protocol],
        resume=resume,
        overwrite=True,
        held_out=0.0,
    )
    (entry,) = run.results
    return {**entry, "epoch": run.best_epoch}


def is_closed_form(recipe: Recipe) -> bool:
    """Whether a recipe's method is solved for all pairs at once, and so has no epochs."""
    return issubclass(METHODS[recipe.method], ClosedFormCMRModel)


def share_held_out(recipe: Recipe, dataset: DatasetDict, given: float | None) -> float:
    """The share of the training split that is not learned from, where the data set has no validation split.

    Args:
        recipe: a closed form learns from all pairs by default.
        dataset: with a validation split, nothing is held out whatever the share.
        given: the share that is asked for; None for the default.
    """
    if given is not None:
        return given
    return 0.0 if is_closed_form(recipe) and "validation" not in dataset else HELD_OUT


def make_splits(recipe: Recipe, dataset: DatasetDict, dataset_name: str, held_out: float | None = None) -> DatasetDict:
    """The splits that a training by a recipe learns from, chooses the epoch on and is measured on.

    Args:
        recipe: says how many pairs are learned from at most.
        dataset: as its source defines it.
        dataset_name: as `cmr_hub.data` knows it.
        held_out: as for [`train`].

    Raises:
        InputError: there is no training split, too little of it to hold some out, or one class alone for a method that
            learns from classes.
    """
    check_splits(dataset, ["train"], dataset_name)
    share = share_held_out(recipe, dataset, held_out)
    splits = with_train_rows(dataset, recipe.train_rows, dataset_name)
    if not (is_closed_form(recipe) and (not share or "validation" in splits)):
        splits = with_validation(splits, share)
    model_class = METHODS[recipe.method]
    learns_classes = model_class.supervision == "supervised" and has_labels(splits["train"].column_names)
    if learns_classes and (count := len(class_counts(splits["train"]))) < 2:
        raise model_class.too_few_classes(count)
    warn_of_measured_split(splits, dataset_name)
    return splits


def make_features(
    recipe: Recipe, dataset: DatasetDict, dataset_name: str, held_out: float | None = None
) -> FeatureSplits:
    """The features that trainings of a recipe on a data set share, whatever their seeds and other settings.

    Several processes encode the images together, each a share, and all must call this.

    Raises:
        InputError: as for [`make_splits`].
    """
    return _make_features(recipe, dataset, make_splits(recipe, dataset, dataset_name, held_out))


def _make_features(recipe: Recipe, dataset: DatasetDict, splits: DatasetDict) -> FeatureSplits:
    features = FeatureSplits(
        dataset, splits, recipe.encoders, captions=recipe.captions, augmentations=recipe.augmentations
    )
    report_coverage(features.processor.text_encoder, dataset["train"])
    if not this_process().is_alone:
        features.extract(this_process())
    return features


def check_protocols(
    given: Sequence[str | Protocol], model_class: type[CMRModel], *, has_classes: bool
) -> list[Protocol]:
    """The protocols of one training's results, by name or as they are; without any, the data set's default.

    Args:
        given: the protocols.
        model_class: the method.
        has_classes: whether the data set has class labels.

    Raises:
        InputError: the method learns from classes and there are none, the first protocol chooses the epoch on the test
            split and others do not, or they ask for what the method or the data set does not have.
    """
    if model_class.needs_labels() and not has_classes:
        raise model_class.missing_labels()
    default = default_protocol(has_classes=has_classes, is_hashing=model_class.is_hashing)
    protocols = [get_protocol(protocol) for protocol in given or [default]]
    if protocols[0].selection_split == "test" and any(one.selection_split != "test" for one in protocols):
        names = ", ".join(f"{protocol.name} on {protocol.selection_split}" for protocol in protocols)
        raise InputError(
            f"The first protocol chooses the epoch, on the test split, where others do not look: {names}. Name one "
            "that chooses it on the validation split first."
        )
    for protocol in protocols:
        _check_defined(protocol, model_class)
        if protocol.relevance == "class" and not has_classes:
            raise InputError(
                f"Protocol {protocol.name!r} measures by class, and this data set has no class labels: name another, "
                f"such as {default.name!r}, which goes by pairs, or add a column label."
            )
    return protocols


def _check_defined(protocol: Protocol, model_class: type[CMRModel]) -> None:
    """Refuse, before anything is trained, a protocol that asks for what the method does not have."""
    if protocol.gallery_view == "pair" and model_class.get_pair_features is CMRModel.get_pair_features:
        raise InputError(
            f"Protocol {protocol.name!r} searches codes of whole pairs, and {model_class.config_class.model_type} "
            "embeds each side by itself."
        )
    if protocol.rerank and not model_class.is_hashing:
        raise InputError(
            f"Protocol {protocol.name!r} re-ranks codes, and {model_class.config_class.model_type} is real-valued."
        )
    if protocol.focus is not None and not model_class.has_focus:
        with_both = ", ".join(name for name, method in METHODS.importable() if method.has_focus)
        raise InputError(
            f"Protocol {protocol.name!r} has a focus, which weighs a class part and an item part, and "
            f"{model_class.config_class.model_type} embeds each input as one part. Methods with both: "
            f"{with_both or 'none'}."
        )


def check_parts(protocols: Sequence[Protocol], model: CMRModel) -> None:
    """Refuse, before anything is trained, a focus on a model that has one part with these settings."""
    for protocol in protocols:
        if protocol.focus is not None and not model.accepts_focus:
            raise InputError(
                f"Protocol {protocol.name!r} has a focus, and {model.config.model_type} has no class part with these "
                "settings and data: leave the focus out."
            )


def selection_protocols(
    recipe: Recipe, protocols: Sequence[Protocol], model: CMRModel, has_classes: bool
) -> list[Protocol]:
    """The protocols that choose the epoch together.

    Args:
        recipe: names them, or none; see [`Recipe.chosen_by`].
        protocols: of the training's results; the first chooses where the recipe names none that can be used, or where
            it chooses on the test split.
        model: one of one part takes protocols with a focus without it.
        has_classes: whether the data have classes, which some protocols go by.
    """
    if protocols[0].selection_split == "test":
        return [protocols[0]]
    named = [get_protocol(name) for name in recipe.chosen_by]
    usable = [protocol for protocol in named if has_classes or protocol.relevance == "pair"]
    if not model.accepts_focus:
        usable = [get_protocol(protocol, focus=None) for protocol in usable]
    return usable or [protocols[0]]


def make_model(recipe: Recipe, processor: CMRProcessor, dataset: DatasetDict) -> CMRModel:
    """An untrained model with the recipe's settings, and the data's widths and classes.

    Without classes, `unlabelled_settings` of the method take the place of the recipe's.

    Raises:
        InputError: the encoders or the settings do not fit the method.
    """
    model_class = METHODS[recipe.method]
    try:
        check_inputs(model_class, processor)
    except CheckpointError as error:
        raise InputError(f"The encoders do not fit {recipe.method}: {error}") from error
    settings = {**recipe.config, "image_dim": processor.image_encoder.dim, "text_dim": processor.text_encoder.dim}
    if model_class.text_inputs:
        settings["text_input"] = processor.text_encoder.input_name
    if has_labels(dataset["train"].column_names):
        names = class_names(dataset["train"])
        settings |= {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    else:
        settings |= model_class.unlabelled_settings or {}
    try:
        return model_class(model_class.config_class(**settings))
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise InputError(f"The settings do not fit {recipe.method}: {error.__cause__ or error}") from error


def image_domain_of(pairs: Pairs, processor: CMRProcessor) -> ImageDomain | None:
    """What the training images are like, of encoders of raw images; see [`ImageDomain`]."""
    encoder = processor.image_encoder
    if not encoder.accepts_raw_input:
        return None
    features = pairs.images[encoder.input_name]
    rows = range(0, len(features), -(-len(features) // MAX_DOMAIN_IMAGES))
    batches = [list(rows[start : start + ROWS_AT_ONCE]) for start in range(0, len(rows), ROWS_AT_ONCE)]
    return ImageDomain.fit(np.concatenate([pooled(features[batch].numpy()) for batch in batches]))


def fit_closed_form(model: ClosedFormCMRModel, pairs: Pairs) -> None:
    """Solve a closed form for all pairs."""
    whole = pairs[:]
    model.fit(whole[model.image_input], whole[model.text_input], whole.get("labels"))


def _make_trainer(
    model: CMRModel,
    recipe: Recipe,
    pairs: Pairs,
    validation: Pairs | None,
    selection: Sequence[Protocol],
    folder: Path,
    seed: int,
    callbacks: Sequence[TrainerCallback],
) -> CMRTrainer:
    arguments = training_arguments(recipe, folder, seed, metric=Selection.of(selection).metric if selection else None)
    trainer = CMRTrainer(
        model, arguments, pairs, validation, selection, early_stopping_patience=recipe.early_stopping_patience
    )
    for callback in callbacks:
        trainer.add_callback(callback)
    return trainer


def training_arguments(
    recipe: Recipe, folder: Path, seed: int, *, metric: str | None, labels: str = "rows"
) -> TrainingArguments:
    """The recipe's, such that the epoch with the greatest `metric` on the evaluation data is kept; of None the last.

    `labels` names what of a batch metrics get to see beside the model's output: the Trainer computes none without.

    Raises:
        InputError: the recipe sets what the choice of the epoch and the batches depend on, or a value is not usable.
    """
    fixed: dict[str, Any] = {
        "output_dir": str(folder),
        "seed": seed,
        "eval_strategy": "no" if metric is None else "epoch",
        "save_strategy": "epoch" if metric is None else "best",
        "save_total_limit": 1,
        "load_best_model_at_end": metric is not None,
        "metric_for_best_model": f"eval_{metric}",
        "greater_is_better": True,
        "label_names": [labels],
        "remove_unused_columns": False,
    }
    defaults: dict[str, Any] = {
        "logging_strategy": "epoch",
        "per_device_eval_batch_size": 1024,
        "report_to": "none",
        "use_cpu": not torch.cuda.is_available(),
    }
    if clash := sorted(fixed.keys() & recipe.training.keys()):
        raise InputError(f"The training of {recipe.title} sets {', '.join(clash)} itself: leave it out.")
    try:
        arguments = TrainingArguments(**{**defaults, **recipe.training, **fixed})
        _check_ranges(arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"The training arguments of {recipe.title} cannot be used: {error}") from error
    return as_if_alone(arguments)


def _check_ranges(arguments: TrainingArguments) -> None:
    """Raise ValueError for numbers that transformers takes, and that no training can start with."""
    for name in ("per_device_train_batch_size", "per_device_eval_batch_size"):
        if (size := getattr(arguments, name)) < 1:
            raise ValueError(f"{name} must be 1 or more, not {size}")
    for name in ("learning_rate", "weight_decay"):
        if not 0 <= (number := getattr(arguments, name)) < math.inf:
            raise ValueError(f"{name} must be 0 or more, and finite, not {number}")
    if not 0 < arguments.num_train_epochs < math.inf:
        raise ValueError(f"num_train_epochs must be above 0, and finite, not {arguments.num_train_epochs}")
