"""Finished runs that need not be trained again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from cmr_hub.evaluation import Protocol
from cmr_hub.training import run as runs
from cmr_hub.training.run import TrainingRun


def cached_run(asked: TrainingRun, folder: Path, protocols: Sequence[Protocol]) -> TrainingRun | None:
    """The run in `folder` where it is complete, the one that is asked for, and measured under all of these protocols.

    What a publication gives is no setting: where the recipe cites other figures by now, the run's record takes them.
    """
    run = runs.cached_run(asked, folder, protocols)
    if run is not None and run.recipe["published"] != asked.recipe["published"]:
        run = dataclasses.replace(run, recipe={**run.recipe, "published": asked.recipe["published"]})
        run.save(folder)
    return run
