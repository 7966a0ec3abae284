"""One figure of runs that differ in the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev


@dataclass(frozen=True)
class MeanStd:
    """One metric over runs.

    Attributes:
        mean: of the runs' values.
        deviation: the sample's standard deviation; None of a single run.
    """

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> MeanStd:
        """That of one or more runs' values."""
        return cls(mean(values), stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return decimals(self.mean) + ("" if self.deviation is None else f" ± {decimals(self.deviation)}")


def decimals(value: float) -> str:
    """ ".286", as tables of mAP have it."""
    return f"{value:.3f}".removeprefix("0")
