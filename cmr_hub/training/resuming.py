"""Resuming an interrupted training: from states that are complete, and as the training that was interrupted."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import check, read_checksums, write_checksums
from cmr_hub.utils.files import atomic_file
from cmr_hub.utils.full_disk import naming_full_disk
from cmr_hub.utils.processes import this_process

logger = logging.getLogger(__name__)

REQUEST_NAME = "request.json"  # next to the states: what was asked of the training that wrote them
# Training arguments that change no weight: a resumed training may have others.
FREE_ARGUMENTS = (
    *("logging_", "log_", "report_to", "run_name", "project", "trackio_", "disable_tqdm", "debug", "skip_memory_"),
    *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers", "dataloader_prefetch_"),
    *("use_cpu", "per_device_eval_batch_size", "ddp_", "push_to_hub", "hub_"),
)


class ResumableTrainer(Trainer):
    """`transformers.Trainer` whose older states are removed only once the new one is complete on disk.

    A state is complete when its `checksums.json` lists every file, which is done last.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.add_callback(BestStateInFolder())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = self._get_output_dir(trial)
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        with naming_full_disk(folder):
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.save_total_limit = limit
            self.accelerator.wait_for_everyone()  # each process writes the state of its random numbers
            if self.args.should_save:
                write_checksums(Path(folder, f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"), every_file=True)
                rotate_checkpoints(folder, limit, self.state.best_model_checkpoint)


class BestStateInFolder(TrainerCallback):
    """Looks for the best state in the folder of a resumed training, which may have moved since it was saved."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.best_global_step:
            state.best_model_checkpoint = os.path.join(
                args.output_dir, f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
            )


def training_request(settings: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """Return all settings of a training that change its weights, as JSON values.

    Args:
        settings: of the recipe, as a [`~cmr_hub.training.run.TrainingRun`] stores them.
        others: data set, seed and what else decides.
    """
    training = {name: value for name, value in settings["training"].items() if not name.startswith(FREE_ARGUMENTS)}
    recipe = {name: value for name, value in settings.items() if name != "published"}
    return json.loads(json.dumps({**others, "recipe": {**recipe, "training": training}}))


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe what two requests differ in: "seed (0 before, 1 now)"; empty if they are equal.

    Example:
    ```python
    >>> differences({"seed": 0, "recipe": {"captions": "set"}}, {"seed": 1, "recipe": {"captions": "set"}})
    'seed (0 before, 1 now)'
    ```
    """
    before, after = dict(_flat(earlier)), dict(_flat(now))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if "method" in names:  # the settings of another method are all others
        names = ["method"]
    return "; ".join(f"{name} ({before.get(name, 'unset')} before, {after.get(name, 'unset')} now)" for name in names)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by their paths: "recipe.training.learning_rate"."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def last_state(folder: Path, request: Mapping[str, Any], *, resume: bool, overwrite: bool) -> str | None:
    """The last complete state that an interrupted training left in `folder`; None where the training begins anew.

    States that are not continued from are removed, and `folder` then says what is asked for now.

    Args:
        folder: of the states.
        request: what is asked for; see [`training_request`].
        resume: continue a training of the same request.
        overwrite: remove the states of any other.

    Raises:
        InputError: there is a complete state that may be neither continued from nor removed.
    """

    def prepare() -> str | None:
        states = _states(folder)
        last = next(iter(complete_states(folder)), None)
        if last is None and states:
            logger.warning("%s has no complete state to continue from: the training begins anew.", folder)
        elif last is not None and (reason := _why_not(folder, request, resume)):
            if not overwrite:
                raise InputError(f"{reason}, or add --overwrite-output-dir to begin anew.")
            last = None
        elif last is not None and last != states[0]:
            logger.warning("%s is not complete: the training continues from %s.", states[0], last.name)
        for state in states:
            if state != last:
                shutil.rmtree(state)
        with atomic_file(folder / REQUEST_NAME) as scratch:
            scratch.write_text(json.dumps(request, indent=2), encoding="utf-8")
        return None if last is None else str(last)

    return this_process().run_on_main(prepare)


def complete_states(folder: Path) -> list[Path]:
    """The states in a folder that can be continued from, the last first."""
    return [state for state in _states(folder) if _is_complete(state)]


def _states(folder: Path) -> list[Path]:
    """All states in a folder, the last first."""
    steps = {path: path.name.rpartition("-")[2] for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")}
    return sorted((path for path, step in steps.items() if step.isdecimal()), key=lambda path: -int(steps[path]))


def _is_complete(state: Path) -> bool:
    """Whether all files are listed with their checksums, not the model's alone, and are as they were."""
    try:
        check(state)
        return TRAINER_STATE_NAME in (read_checksums(state) or {})
    except CheckpointError:
        return False


def _why_not(folder: Path, request: Mapping[str, Any], resume: bool) -> str:
    """Why a training that is asked for cannot continue from the states in a folder; empty where it can."""
    if not resume:
        return f"{folder.parent} holds an interrupted run: add --resume to go on"
    try:
        found = differences(read_json(folder / REQUEST_NAME), request)
    except CheckpointError as error:
        return f"{error} So it is not known what training the states in {folder} are of: give another folder"
    another = f"{folder.parent} holds an interrupted run of another training, in {found}: ask for the same again"
    return another if found else ""
