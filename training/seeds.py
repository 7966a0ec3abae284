"""Several runs of one recipe as mean and deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .train import TrainingRun


@dataclass(frozen=True)
class Spread:
    """One metric over runs.

    Attributes:
        mean: of the runs' values.
        deviation: the sample's standard deviation; None of a single run.
    """

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """That of one or more runs' values."""
        return cls(mean(values), stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return decimals(self.mean) + ("" if self.deviation is None else f" ± {decimals(self.deviation)}")


def decimals(value: float) -> str:
    """ ".286", as tables of mAP have it."""
    return f"{value:.3f}".removeprefix("0")


def over_runs(entries: Sequence[Mapping[str, Any]]) -> dict[str, Spread]:
    """Each metric over runs that differ in the seed alone.

    Args:
        entries: one entry of `TrainingRun.results` a run, of the same protocol and split.
    """
    return {name: Spread.of([entry["metrics"][name] for entry in entries]) for name in entries[0]["metrics"]}


def summarise(runs: Sequence[TrainingRun]) -> str:
    """Mean and standard deviation of each test metric over two or more runs that differ in the seed alone.

    Returns:
        A readable table a protocol, whose first line says what the protocol is.
    """
    lines = []
    for number, entry in enumerate(runs[0].results):
        lines += [entry["description"], f"{entry['split']} split, seeds {', '.join(str(run.seed) for run in runs)}"]
        for name, spread in over_runs([run.results[number] for run in runs]).items():
            lines.append(f"{name:<24} {spread.mean:.4f} ± {spread.deviation:.4f}")
    return "\n".join(lines)
