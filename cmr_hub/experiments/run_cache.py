"""Finished runs that need not be trained again, and interrupted ones that can go on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cmr_hub.evaluation import Protocol
from cmr_hub.results.leaderboard import RUN_NAME
from cmr_hub.training.recipe import Recipe
from cmr_hub.training.train import TRAINER_FOLDER, TrainingRun, settings_of
from cmr_hub.utils.files import atomic_file

SETTINGS_NAME = "settings.json"  # beside the Trainer's states: what an interrupted run was to be


def cached_run(
    folder: Path, recipe: Recipe, dataset: str, seed: int, protocols: Sequence[Protocol]
) -> TrainingRun | None:
    """The run in `folder` where it is complete, of the same settings, and measured under all of these protocols.

    What a publication gives is no setting: where the recipe cites other figures by now, the run's record takes them.
    """
    if not (folder / RUN_NAME).exists() or (folder / TRAINER_FOLDER).exists():
        return None
    run, now = TrainingRun.load(folder), _as_stored(recipe)
    defined = {(entry["protocol"], entry["description"]) for entry in run.results if entry["split"] == "test"}
    wanted = {(protocol.name, protocol.describe()) for protocol in protocols}
    if (run.dataset, run.seed) != (dataset, seed) or not wanted <= defined or not _same(run.recipe, now):
        return None
    if run.recipe != now:
        run = dataclasses.replace(run, recipe=now)
        run.save(folder)
    return run


def clear_way(folder: Path, recipe: Recipe) -> None:
    """Make `folder` fit for `train(…, resume=True)`: what an interrupted run of other settings left is removed."""
    trainer, settings = folder / TRAINER_FOLDER, _as_stored(recipe)
    record = trainer / SETTINGS_NAME
    if not record.exists() or not _same(json.loads(record.read_text()), settings):
        shutil.rmtree(trainer, ignore_errors=True)
    with atomic_file(record) as scratch:
        scratch.write_text(json.dumps(settings))


def _as_stored(recipe: Recipe) -> dict[str, Any]:
    """The settings as they come back from a file."""
    return json.loads(json.dumps(settings_of(recipe)))


def _same(settings: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    return {**settings, "published": None} == {**others, "published": None}
