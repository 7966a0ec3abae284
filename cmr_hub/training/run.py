"""The record of a training, stored next to its weights, which identifies a finished run."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from datasets import DatasetDict
from transformers import TrainerState

from cmr_hub.data.fingerprint import fingerprint
from cmr_hub.data.labels import is_labelled
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.evaluation import Protocol
from cmr_hub.hub.checkpoints import RUN_NAME
from cmr_hub.hub.weights import check_weights, is_of_other_weights
from cmr_hub.modeling.checked_model import WEIGHT_FILES
from cmr_hub.retrieval.gallery_layout import CONFIG_NAME as GALLERY_CONFIG
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.files import atomic_file, check_may_be_folder
from cmr_hub.utils.processes import this_process

from .recipe import Recipe
from .resuming import complete_states, differences, training_request
from .splits import HELD_OUT

logger = logging.getLogger(__name__)

TRAINER_FOLDER = "trainer"  # resumable states; removed when a run is complete, never published


@dataclass
class TrainingRun:
    """How a checkpoint was made; its card is written from this record.

    Attributes:
        method, dataset, seed: what was trained on what, from which seed.
        command: the command line.
        recipe: the settings as they were used.
        epochs: number of epochs trained; None for closed-form methods.
        best_epoch: the epoch whose weights were stored.
        tuned: of a checkpoint whose image encoder was tuned, what it was tuned from and how; None of any other.
        seconds: wall time of the training alone.
        versions: package -> version.
        results: one entry per protocol and split, as [`result_entry`] gives them.
        weights: digest of the weights that all of this is about, as [`~cmr_hub.hub.weights.weights_digest`] has it;
            None in records of before version 0.2.
        data_name: what the data are called, where they are somebody's own; None of data sets with a name of their own.
        data_dir: the folder that the data were read from, where one was given; a published record has none.
        data: split -> what it was trained and measured on, as [`~cmr_hub.data.fingerprint.fingerprint`] has it; None
            in records of before version 0.2.
        held_out: share of the training split that was not learned from, where the data set has no validation split;
            epochs are chosen on it. 0: all of it was learned from.
        pairs: how many were learned from; None in records of before version 0.2.
    """

    method: str
    dataset: str
    seed: int
    command: str
    recipe: dict[str, Any]
    versions: dict[str, str]
    epochs: int | None = None
    best_epoch: int | None = None
    tuned: dict[str, Any] | None = None
    seconds: float = 0.0
    results: list[dict[str, Any]] = field(default_factory=list)
    weights: str | None = None
    data: dict[str, str] | None = None
    held_out: float = HELD_OUT
    pairs: int | None = None
    data_name: str | None = None
    data_dir: str | None = None

    @classmethod
    def of(
        cls, recipe: Recipe, dataset: DatasetDict, dataset_name: str, seed: int, command: str = "", **others: Any
    ) -> TrainingRun:
        """Return the record of a training that has not been run yet."""
        return cls(
            recipe.method,
            dataset_name,
            seed,
            command,
            settings_of(recipe, has_classes=is_labelled(dataset)),
            versions(),
            data=fingerprint(dataset),
            **others,
        )

    def note_epochs(self, state: TrainerState) -> None:
        """Set the epochs from the state of a Trainer that loaded the best one at its end, if it measured any."""
        self.epochs = round(state.epoch)
        if state.best_metric is None:  # nothing was measured
            self.best_epoch = self.epochs
        else:  # no best step: no epoch was better than what the training started from
            self.best_epoch = round((state.best_global_step or 0) / state.global_step * state.epoch)

    def with_results(self, entries: list[dict[str, Any]]) -> TrainingRun:
        """Return the same run with further results, which replace those of the same protocol and split."""
        new = {(entry["protocol"], entry["split"]) for entry in entries}
        kept = [entry for entry in self.results if (entry["protocol"], entry["split"]) not in new]
        return dataclasses.replace(self, results=kept + entries)

    def save(self, folder: Path) -> None:
        """Write into a checkpoint folder."""
        with atomic_file(folder / RUN_NAME) as scratch:
            scratch.write_text(json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> TrainingRun:
        """Read from a checkpoint folder.

        Raises:
            CheckpointError: the folder was not made by `cmr train`, or the record is of other weights than those in
                it.
        """
        stored = read_json(folder / RUN_NAME)
        check_weights(stored.get("weights"), folder / RUN_NAME)
        if isinstance(recipe := stored.get("recipe"), dict) and "turns" in recipe:  # its name before version 0.2
            recipe["augmentations"] = recipe.pop("turns")
        if "pairs" not in stored and stored.get("epochs") is None and "validation" not in (stored.get("data") or {}):
            stored["held_out"] = 0.0  # closed forms held nothing out
        try:
            return cls(**stored)
        except TypeError as error:
            raise CheckpointError(f"{folder / RUN_NAME} is of another version of cmr_hub ({error}).") from error

    @property
    def request(self) -> dict[str, Any]:
        """What the training was asked for, to be compared with another; see [`training_request`]."""
        about = {name: getattr(self, name) for name in ("method", "dataset", "seed", "tuned", "data")}
        if self.held_out != HELD_OUT:  # records of before it have none
            about["held_out"] = self.held_out
        return training_request(self.recipe, **about)

    def differences(self, asked: TrainingRun) -> str:
        """Describe how a requested training differs from this one; see [`differences`]."""
        earlier, now = self.request, asked.request
        if self.data is None:  # of before version 0.2
            earlier["data"] = now["data"]
        return differences(earlier, now)

    def lacks(self, protocols: Sequence[Protocol]) -> list[str]:
        """The protocols, as they are defined now, that the test split was not measured under, or what stood for it."""
        has_test = self.data is None or "test" in self.data
        entries = [entry for entry in self.results if entry["split"] == "test" or not has_test]
        measured = {(entry["protocol"], entry["description"]) for entry in entries}
        return [protocol.name for protocol in protocols if (protocol.name, protocol.describe()) not in measured]


def matching_run(asked: TrainingRun, folder: Path, protocols: Sequence[Protocol]) -> TrainingRun | None:
    """The finished run in `folder`, which is the one that is asked for; None where there is none.

    A record of other weights than those next to it does not count: the training that replaced them was stopped before
    it was measured.

    Args:
        asked: what is asked for.
        folder: of the checkpoint.
        protocols: what it has to be measured under.

    Raises:
        InputError: the finished run is another, or was not measured under these protocols.
        CheckpointError: the record is damaged.
    """
    if not has_finished_run(folder) or complete_states(folder / TRAINER_FOLDER):
        return None
    run = TrainingRun.load(folder)
    if found := run.differences(asked):
        raise InputError(
            f"{folder} holds a finished run of another training, in {found}: give another folder, or add "
            "--overwrite-output-dir to train over it."
        )
    if missing := run.lacks(protocols):
        raise InputError(
            f"{folder} holds a finished run that was not measured under {', '.join(missing)}: add it with "
            f"`cmr evaluate --protocols {' '.join(missing)} --record`."
        )
    return run


def has_finished_run(folder: Path) -> bool:
    """Whether a folder holds weights with their record.

    Raises:
        CheckpointError: the record is damaged.
    """
    path = folder / RUN_NAME
    return path.exists() and not is_of_other_weights(read_json(path).get("weights"), folder)


def cached_run(asked: TrainingRun, folder: Path, protocols: Sequence[Protocol]) -> TrainingRun | None:
    """As [`matching_run`], but None for another finished run or a damaged record, which may be replaced."""
    try:
        return matching_run(asked, folder, protocols)
    except InputError:
        return None
    except CheckpointError as error:
        logger.warning("%s The run is trained anew.", error)
        return None


def take_finished(
    asked: TrainingRun, folder: Path, protocols: Sequence[Protocol], *, resume: bool, overwrite: bool
) -> TrainingRun | None:
    """The finished run that need not be trained again; None where there is something to train.

    Of several processes all must call this.

    Args:
        asked: what is asked for.
        folder: of the checkpoint.
        protocols: what it has to be measured under.
        resume: return what is finished.
        overwrite: replace what is another.

    Raises:
        InputError: there is a finished run which may not be replaced, and it is another, or `resume` is not set.
        CheckpointError: its record is damaged.
        UnwritableError: no folder can be made there.
    """

    def take() -> TrainingRun | None:
        check_may_be_folder(folder)
        if not resume:
            if not overwrite:
                refuse_finished_run(folder)
            return None
        run = (cached_run if overwrite else matching_run)(asked, folder, protocols)
        if run is not None:
            logger.info("%s holds this run already, finished.", folder)
            shutil.rmtree(folder / TRAINER_FOLDER, ignore_errors=True)
        return run

    return this_process().run_on_main(take)


def refuse_finished_run(folder: Path) -> None:
    """Refuse a folder that holds a finished run, or a checkpoint that no interrupted run left there.

    Raises:
        InputError: it does.
        CheckpointError: it does, and the record is damaged.
    """
    if has_finished_run(folder):
        raise InputError(
            f"{folder} holds a finished run: give another folder, add --resume to leave it as it is, or "
            "--overwrite-output-dir to train over it."
        )
    refuse_weights(folder)


def refuse_weights(folder: Path) -> None:
    """Refuse a folder that holds a gallery, or the weights of a model that no interrupted run left there.

    Raises:
        InputError: it does.
    """
    refuse_gallery(folder)
    weights = sorted(path.name for pattern in WEIGHT_FILES for path in folder.glob(pattern))
    if weights and not complete_states(folder / TRAINER_FOLDER):
        raise InputError(
            f"{folder} holds a checkpoint, {weights[0]}: give another folder, or add --overwrite-output-dir to train "
            "over it."
        )


def refuse_gallery(folder: Path) -> None:
    """Refuse a folder that holds a gallery: a checkpoint in it would be taken for that of the gallery.

    Raises:
        InputError: it does.
    """
    if (folder / GALLERY_CONFIG).exists():
        raise InputError(f"{folder} holds a gallery: give another folder for the checkpoint.")


def result_entry(result: Any, split: str, seed: int | None) -> dict[str, Any]:
    """The entry of an evaluation in `TrainingRun.results`."""
    return metrics_entry(result.protocol, split, result.metrics, seed)


def metrics_entry(protocol: Protocol, split: str, metrics: Mapping[str, float], seed: int | None) -> dict[str, Any]:
    """The entry of metrics under a protocol in `TrainingRun.results`."""
    return {
        "protocol": protocol.name,
        "description": protocol.describe(),
        "split": split,
        "metrics": {name: round(value, 4) for name, value in metrics.items()},
        "seeds": [] if seed is None else [seed],
    }


def settings_of(recipe: Recipe, has_classes: bool = True) -> dict[str, Any]:
    """The settings of a recipe that a [`TrainingRun`] stores: JSON values, also of mappings that YAML nests.

    Args:
        recipe: the recipe.
        has_classes: whether the data have class labels; without, what chooses the epoch is no choice.
    """
    names = recipe.chosen_by if has_classes else recipe.selection
    chosen_by = {"selection": list(names)} if names else {}  # as in records of before it
    settings = {
        **chosen_by,
        **({} if recipe.train_rows is None else {"train_rows": recipe.train_rows}),
        "encoders": {modality: spec.to_dict() for modality, spec in recipe.encoders.items()},
        "captions": recipe.captions,
        **({} if recipe.test_selected is None else {"test_selected": recipe.test_selected}),
        "config": recipe.config,
        "training": recipe.training,
        "early_stopping_patience": recipe.early_stopping_patience,
        "augmentations": list(recipe.augmentations),
        "published": recipe.published_here.to_dict(),
    }
    return msgspec.to_builtins(settings)


def versions() -> dict[str, str]:
    """Package -> version, of the packages that results depend on."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "datasets", "numpy")}
