"""Several runs of one recipe as mean and deviation."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .train import TrainingRun


def summarise(runs: Sequence[TrainingRun]) -> str:
    """Mean and standard deviation of each test metric over runs that differ in the seed alone.

    Returns:
        A readable table a protocol, whose first line says what the protocol is.
    """
    lines = []
    for number, entry in enumerate(runs[0].results):
        lines += [entry["description"], f"{entry['split']} split, seeds {', '.join(str(run.seed) for run in runs)}"]
        for name in entry["metrics"]:
            values = [run.results[number]["metrics"][name] for run in runs]
            lines.append(f"{name:<24} {mean(values):.4f} ± {stdev(values):.4f}")
    return "\n".join(lines)
