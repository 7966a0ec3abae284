"""One figure of runs that differ in the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING

import msgspec

from cmr_hub.utils.deprecation import renamed_module_attributes

if not TYPE_CHECKING:  # for which these names do not exist
    __getattr__ = renamed_module_attributes(__name__, {"Spread": "MeanStd"})


class MeanStd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One metric over runs.

    Attributes:
        mean: of the runs' values.
        deviation: the sample's standard deviation; None of a single run.
    """

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> MeanStd:
        """Mean and sample deviation of the values of one or more runs."""
        return cls(mean(values), stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return decimals(self.mean) + ("" if self.deviation is None else f" ± {decimals(self.deviation)}")


def decimals(value: float) -> str:
    """Three decimals without the leading zero (".286"), as tables of mAP have it."""
    return f"{value:.3f}".removeprefix("0")
