"""Search a recipe's settings for those that are best on the validation split; the test split is never looked at.

Methods that learn by gradient go through `Trainer.hyperparameter_search` of transformers, which trains a new model a
trial; closed forms, which no Trainer trains, are solved within Optuna's own loop, for the same objective. An SQLite
file in the output folder keeps every trial, so that an interrupted sweep goes on.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import yaml
from datasets import DatasetDict
from transformers import set_seed
from transformers.trainer_utils import SaveStrategy

from cmr_hub.data.base import DATABASE
from cmr_hub.data.fingerprint import fingerprint
from cmr_hub.data.labels import is_labelled
from cmr_hub.errors import CMRError, InputError
from cmr_hub.evaluation import Protocol, default_protocol
from cmr_hub.methods import METHODS
from cmr_hub.modeling.modeling_cmr import ClosedFormCMRModel, CMRModel
from cmr_hub.training.datasets import FeatureSplits
from cmr_hub.training.evaluate import embed, evaluate_pairs
from cmr_hub.training.recipe import Recipe, config_types, training_types
from cmr_hub.training.resuming import differences
from cmr_hub.training.run import TRAINER_FOLDER, settings_of, versions
from cmr_hub.training.selection import Selection, validation_protocol
from cmr_hub.training.splits import with_train_rows, with_validation
from cmr_hub.training.train import check_protocols, fit_closed_form, make_model, training_arguments
from cmr_hub.training.trainer import CMRTrainer
from cmr_hub.utils.decoding import check_names
from cmr_hub.utils.extras import require
from cmr_hub.utils.files import atomic_file, make_folder
from cmr_hub.utils.full_disk import is_of_full_disk, naming_full_disk
from cmr_hub.utils.located_yaml import YAML_ERRORS
from cmr_hub.utils.markdown import markdown_table

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

STUDY_NAME, STUDY_FILE, SWEEP_FILE = "sweep", "sweep.db", "sweep.json"
RANGES = ("float", "log", "int")
STARTUP_TRIALS = 5  # before any is given up


@dataclass(frozen=True)
class Dimension:
    """A setting that a sweep varies.

    Attributes:
        section: "config" for a field of the method's configuration, "training" for one of TrainingArguments.
        name: the setting's.
        kind: "float" or "int" for numbers from a range, "log" for floats by their order of magnitude, "choice".
        values: both ends of the range, or the choices.
    """

    section: str
    name: str
    kind: str
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, text: str) -> Dimension:
        """A dimension as the command line has it: `learning_rate=log:1e-5:1e-2`, `config.embed_dim=choice:64,128`.

        Raises:
            InputError: it says something else.

        Example:
        ```python
        >>> Dimension.parse("config.loss_eta=float:0:1")
        Dimension(section='config', name='loss_eta', kind='float', values=(0.0, 1.0))
        ```
        """
        label, equals, space = text.partition("=")
        kind, colon, values = space.partition(":")
        section, dot, name = label.rpartition(".")
        if not (label and equals and colon and values) or (dot and section != "config"):
            _refuse(text, "it is not of the form NAME=KIND:VALUES")
        if kind not in ("choice", *RANGES):
            _refuse(text, f"there is no kind {kind!r}")
        if kind == "choice":
            try:
                parsed = tuple(_value(value) for value in values.split(","))
            except YAML_ERRORS as error:
                _refuse(text, f"a choice is no YAML ({error})")
            if not all(isinstance(value, bool | int | float | str) for value in parsed):
                _refuse(text, "each choice is a number, true, false or a word")
        else:
            try:
                parsed = tuple((int if kind == "int" else float)(value) for value in values.split(":"))
            except ValueError:
                _refuse(text, f"the ends of a range of {kind!r} are numbers of that kind")
            if len(parsed) != 2 or not -math.inf < parsed[0] < parsed[1] < math.inf:
                _refuse(text, "a range has two ends, the lower one first")
            if kind == "log" and parsed[0] <= 0:
                _refuse(text, "a logarithm needs ends above 0")
        return cls("config" if dot else "training", name, kind, parsed)

    @property
    def label(self) -> str:
        """What the command line calls it."""
        return f"config.{self.name}" if self.section == "config" else self.name

    def suggest(self, trial: optuna.Trial) -> Any:
        """The value in a trial; the same however often it is asked."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.label, self.values)
        if self.kind == "int":
            return trial.suggest_int(self.label, *self.values)
        return trial.suggest_float(self.label, *self.values, log=self.kind == "log")


def _value(text: str) -> Any:
    """A choice as YAML reads it, and 1e-3 as a number, which YAML takes for a word."""
    value = yaml.safe_load(text)
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _refuse(text: str, reason: str) -> None:
    raise InputError(
        f"{text!r} is no setting to search: {reason}. Write NAME=float:LOW:HIGH, NAME=log:LOW:HIGH, NAME=int:LOW:HIGH "
        "or NAME=choice:A,B,C, where NAME is a training argument, or config.NAME a field of the method's config."
    )


@dataclass
class Sweep:
    """What a sweep was, and every trial of it.

    Attributes:
        method, dataset, seed, command, versions: as of a [`~cmr_hub.training.run.TrainingRun`].
        protocol: what the validation metric is, in one line.
        metric: its name; greater is better.
        space: what was searched.
        prune_after: epochs before a trial may be given up; None: none was.
        recipe: the settings that all trials share.
        data: split -> what it was searched on, as [`~cmr_hub.data.fingerprint.fingerprint`] has it.
        trials: of each its number, state ("complete", "pruned", "fail" or "running"), `value` (the best epoch's
            metric, of a pruned one so far; None where there is none), `seconds` and `settings`.
    """

    method: str
    dataset: str
    seed: int
    command: str
    protocol: str
    metric: str
    space: list[Dimension]
    prune_after: int | None
    recipe: dict[str, Any]
    versions: dict[str, str]
    data: dict[str, str] = field(default_factory=dict)
    trials: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best(self) -> dict[str, Any]:
        """The trial of the greatest metric; of equal ones the first."""
        return max((trial for trial in self.trials if trial["state"] == "complete"), key=lambda trial: trial["value"])

    def recipe_section(self) -> str:
        """The lines of a recipe that give the method the best trial's settings on this data set."""
        sections: dict[str, dict[str, Any]] = {}
        for dimension in self.space:
            sections.setdefault(dimension.section, {})[dimension.name] = self.best["settings"][dimension.label]
        return yaml.safe_dump({"datasets": {self.dataset: sections}}, sort_keys=False)

    def table(self) -> str:
        """The trials as Markdown, the best first."""
        labels = [dimension.label for dimension in self.space]
        rows = []
        for trial in sorted(self.trials, key=_rank):
            settings = [_shown(trial["settings"].get(label)) for label in labels]
            rows.append(
                [str(trial["number"]), *settings, *map(_shown, (trial["value"], trial["seconds"])), trial["state"]]
            )
        return markdown_table(["trial", *labels, self.metric, "seconds", "state"], rows)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        with atomic_file(path) as scratch:
            content = {**asdict(self), "best": self.best}
            scratch.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _rank(trial: Mapping[str, Any]) -> tuple[bool, float]:
    return trial["state"] != "complete", -(trial["value"] or 0)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def sweep(
    recipe: Recipe,
    dataset: Mapping[str, Any],
    dataset_name: str,
    output_dir: Path,
    space: Sequence[Dimension],
    *,
    trials: int = 20,
    seed: int = 0,
    protocol: str | Protocol | None = None,
    prune_after: int | None = None,
    command: str = "",
) -> Sweep:
    """Train one model a trial, and see which settings are best on the validation split.

    Each trial is trained as [`~training.train.train`] does it, from the same seed, early stopping included; its value
    is the protocol's primary metric of its best epoch. Optuna's TPE sampler chooses the settings.

    Args:
        recipe: what the trials share.
        dataset: splits "train", and "validation" where the source defines one; a tenth of the training split serves
            otherwise, for closed forms too (see [`~cmr_hub.training.splits.with_validation`]). No other split is
            touched.
        dataset_name: as `cmr_hub.data` knows it.
        output_dir: receives `sweep.db`, Optuna's record, and `sweep.json`, for people and programs. A sweep of the
            same settings that lies there goes on.
        space: what is searched.
        trials: how many there are to be in the end, earlier ones of the same folder included.
        seed: of the sampler and of every training.
        protocol: what is measured; by default what the data set has, see [`~cmr_hub.evaluation.default_protocol`],
            and the recall of pairs of a method that learns from pairs alone.
        prune_after: give up trials that do worse than the median at the same step, after this many epochs (of the
            recipe's batch size) and five complete trials; None: train all to their end.
        command: for the record.

    Raises:
        InputError: the space is empty or names a setting twice, a setting cannot take such values, the protocol looks
            at the test split, `output_dir` holds another sweep, or no trial was completed.
        MissingExtraError: Optuna is not installed.
        UnknownNameError: the space names a setting that does not exist.
    """
    require("optuna", "sweep", "A sweep")
    import optuna

    has_classes = is_labelled(dataset)
    if protocol is None and METHODS[recipe.method].supervision == "unsupervised":
        protocol = default_protocol(has_classes=False, is_hashing=METHODS[recipe.method].is_hashing)
    given = [] if protocol is None else [protocol]
    (protocol,) = check_protocols(given, METHODS[recipe.method], has_classes=has_classes)
    if protocol.selection_split != "validation":
        raise InputError(
            f"Protocol {protocol.name!r} chooses on the {protocol.selection_split} split; a sweep never looks at it."
        )
    if trials < 1:
        raise InputError(f"a sweep has one trial or more, not {trials}.")
    closed_form = issubclass(METHODS[recipe.method], ClosedFormCMRModel)
    _check_space(space, recipe, closed_form)
    if closed_form and prune_after is not None:
        raise InputError(f"{recipe.title} is a closed form: it has no epochs after which a trial could be given up.")
    seen = DatasetDict({split: dataset[split] for split in ("train", "validation", DATABASE) if split in dataset})
    outcome = Sweep(
        method=recipe.method,
        dataset=dataset_name,
        seed=seed,
        command=command,
        protocol=validation_protocol(protocol).describe(),
        metric=protocol.primary_metric,
        space=list(space),
        prune_after=prune_after,
        recipe=settings_of(recipe),
        versions={**versions(), "optuna": optuna.__version__},
        data=fingerprint(seen),
    )
    output_dir = Path(output_dir)
    with naming_full_disk(output_dir):
        return _run(outcome, recipe, seen, output_dir, protocol, trials)


def _run(
    outcome: Sweep, recipe: Recipe, seen: DatasetDict, output_dir: Path, protocol: Protocol, trials: int
) -> Sweep:
    """Train the trials that `output_dir` lacks, and write all of them into it."""
    make_folder(output_dir)
    storage = _open_storage(output_dir / STUDY_FILE)
    study, missing = _open_study(storage, outcome, trials)
    if missing:
        splits = with_validation(with_train_rows(seen, recipe.train_rows, outcome.dataset))
        features = FeatureSplits(
            seen, splits, recipe.encoders, captions=recipe.captions, augmentations=recipe.augmentations
        )
        search = _Search(recipe, features, protocol, outcome.space, outcome.seed)
        if issubclass(METHODS[recipe.method], ClosedFormCMRModel):
            study.optimize(search.solve, n_trials=missing, catch=(CMRError,))
        else:
            search.train(study, storage, missing, output_dir / TRAINER_FOLDER, outcome.prune_after)
            shutil.rmtree(output_dir / TRAINER_FOLDER, ignore_errors=True)
    outcome.trials = [_described(trial) for trial in study.get_trials(deepcopy=False)]
    if all(trial["state"] != "complete" for trial in outcome.trials):
        raise InputError(
            f"none of the {len(outcome.trials)} trials was completed: the log says why. Search elsewhere."
        )
    outcome.save(output_dir / SWEEP_FILE)
    return outcome


def _check_space(space: Sequence[Dimension], recipe: Recipe, closed_form: bool) -> None:
    """Refuse, before anything is trained, a space that the method has no settings for."""
    if not space or len({dimension.label for dimension in space}) < len(space):
        raise InputError("a sweep searches one setting or more, each once.")
    by_section = {
        section: [dimension for dimension in space if dimension.section == section]
        for section in ("config", "training")
    }
    check_names("config field", [dimension.name for dimension in by_section["config"]], config_types(recipe.method))
    check_names("training argument", [dimension.name for dimension in by_section["training"]], training_types())
    if closed_form and by_section["training"]:
        name = by_section["training"][0].name
        raise InputError(f"{recipe.title} is a closed form without a training loop: {name!r} means nothing to it.")
    for kinds, section in ((config_types(recipe.method), "config"), (training_types(), "training")):
        for dimension in by_section[section]:
            if kinds[dimension.name] is int and dimension.kind in ("float", "log"):
                raise InputError(f"{dimension.label} is a whole number: search it as int:LOW:HIGH or choice:A,B,C.")
    if not closed_form:
        first = {dimension.name: dimension.values[0] for dimension in by_section["training"]}
        training_arguments(recipe.changed(training=first), Path(TRAINER_FOLDER), 0, metric="map")


def _open_storage(path: Path) -> optuna.storages.RDBStorage:
    """Optuna's record of trials in a file, new or of an earlier call.

    Raises:
        InputError: the file is no such record.
    """
    import optuna
    from sqlalchemy.exc import DatabaseError

    try:
        return optuna.storages.RDBStorage(f"sqlite:///{path}")
    except DatabaseError as error:
        if is_of_full_disk(error):
            raise
        raise InputError(
            f"{path} cannot be read as the record of a sweep ({error.orig}). Choose another output folder, or remove "
            "it to search anew."
        ) from error


def _open_study(storage: optuna.storages.RDBStorage, outcome: Sweep, trials: int) -> tuple[optuna.Study, int]:
    """The study in a file, new or to go on with, and how many trials it lacks.

    Raises:
        InputError: the file holds another sweep.
    """
    import optuna

    # One line a trial in our own log, not a second one beside it.
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    study = optuna.create_study(storage=storage, study_name=STUDY_NAME, direction="maximize", load_if_exists=True)
    settings = {
        name: value for name, value in asdict(outcome).items() if name not in ("command", "versions", "trials")
    }
    settings = json.loads(json.dumps(settings))
    earlier = {"data": settings["data"], **study.user_attrs.get("settings", settings)}  # 0.1 stored no data
    if found := differences(earlier, settings):
        raise InputError(
            f"{storage.url} holds a sweep of other settings, in {found}. Choose another output folder, or remove it."
        )
    study.set_user_attr("settings", settings)
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name in ("COMPLETE", "PRUNED")]
    # A sampler of the same seed would suggest again what it did before the interruption.
    started = np.random.SeedSequence([outcome.seed, len(study.get_trials(deepcopy=False))])
    study.sampler = optuna.samplers.TPESampler(seed=int(started.generate_state(1)[0]))
    return study, max(0, trials - len(done))


def _described(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "seconds": None if trial.duration is None else round(trial.duration.total_seconds(), 1),
        "settings": trial.params,
    }


class _Search:
    """The trials of one sweep, on features that they share."""

    def __init__(
        self, recipe: Recipe, features: FeatureSplits, protocol: Protocol, space: Sequence[Dimension], seed: int
    ):
        self.recipe, self.features, self.protocol, self.seed = recipe, features, protocol, seed
        self.space = space

    def settings(self, trial: optuna.Trial, section: str) -> dict[str, Any]:
        """A trial's settings of one section."""
        return {each.name: each.suggest(trial) for each in self.space if each.section == section}

    def start(self, trial: optuna.Trial | None = None) -> CMRModel:
        """The untrained model of a trial; of None that of the recipe."""
        recipe = self.recipe if trial is None else self.recipe.changed(config=self.settings(trial, "config"))
        set_seed(self.seed)
        model = make_model(recipe, self.features.processor, self.features.dataset)
        if model.answers_questions:
            raise InputError(f"{recipe.title} with these settings answers questions: there is no search to measure.")
        model.start_from(self.features.processor)
        set_seed(self.seed)  # as the Trainer of a training of its own begins
        return model

    def solve(self, trial: optuna.Trial) -> float:
        """The validation metric of a closed form."""
        model, pairs, validation = self.start(trial), self.features["train"], self.features["validation"]
        model.check_labels(pairs.labels)
        fit_closed_form(cast(ClosedFormCMRModel, model), pairs)
        values = embed(model.eval(), validation, real_valued=True)
        image, text = (torch.from_numpy(values[f"{modality}_embeds"]) for modality in ("image", "text"))
        (protocol,) = Selection.of(self.protocol).fitted(validation).protocols
        result = evaluate_pairs(model, image[validation.caption_to_image], text, validation, protocol)
        return result.metrics[self.protocol.primary_metric]

    def train(
        self,
        study: optuna.Study,
        storage: optuna.storages.RDBStorage,
        trials: int,
        folder: Path,
        prune_after: int | None,
    ) -> None:
        """Train so many models by gradient; the storage, which is the study's, receives them."""
        import optuna

        metric, pairs = self.protocol.primary_metric, self.features["train"]
        arguments = training_arguments(self.recipe, folder, self.seed, metric=metric)
        arguments.save_strategy = SaveStrategy.NO  # the value alone is wanted
        trainer = CMRTrainer(
            None,
            arguments,
            pairs,
            self.features["validation"],
            self.protocol,
            early_stopping_patience=self.recipe.early_stopping_patience,
            model_init=self.start,
        )

        def best_so_far(metrics: dict[str, float]) -> float:
            # The Trainer asks after each epoch, before it compares this epoch with those before, and takes the last
            # answer for the trial's value.
            return max(trainer.state.best_metric or -math.inf, metrics[f"eval_{metric}"])

        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if prune_after is not None:
            batch = arguments.train_batch_size * arguments.gradient_accumulation_steps
            warmup = prune_after * math.ceil(len(pairs) / batch)
            pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=warmup)
        try:
            trainer.hyperparameter_search(
                hp_space=lambda trial: self.settings(trial, "training"),
                compute_objective=best_so_far,
                n_trials=trials,
                direction="maximize",
                backend="optuna",
                storage=storage,
                study_name=STUDY_NAME,
                load_if_exists=True,
                sampler=study.sampler,
                pruner=pruner,
                catch=(CMRError,),
            )
        except ValueError as error:
            # What transformers lets through where there is no best trial; the sweep itself says so.
            if isinstance(error, CMRError) or any(trial.state.name == "COMPLETE" for trial in study.trials):
                raise
