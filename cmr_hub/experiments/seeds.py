"""Several runs of one recipe as mean and deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cmr_hub.evaluation import MeanStd
from cmr_hub.training.run import TrainingRun


def over_runs(entries: Sequence[Mapping[str, Any]]) -> dict[str, MeanStd]:
    """Each metric over runs that differ in the seed alone.

    Args:
        entries: one entry of `TrainingRun.results` per run, of the same protocol and split.
    """
    return {name: MeanStd.of([entry["metrics"][name] for entry in entries]) for name in entries[0]["metrics"]}


def summarise(runs: Sequence[TrainingRun]) -> str:
    """Mean and standard deviation of each test metric over two or more runs that differ in the seed alone.

    Returns:
        One readable table per protocol; its first line describes the protocol.
    """
    lines = []
    for number, entry in enumerate(runs[0].results):
        lines += [entry["description"], f"{entry['split']} split, seeds {', '.join(str(run.seed) for run in runs)}"]
        for name, spread in over_runs([run.results[number] for run in runs]).items():
            lines.append(f"{name:<24} {spread.mean:.4f} ± {spread.deviation:.4f}")
    return "\n".join(lines)
