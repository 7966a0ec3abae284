"""Compare results that were measured anew with those in the repository."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from cmr_hub.errors import InputError, TrainingError
from cmr_hub.evaluation import MeanStd

from .schema import Reproduction, Row

# CPUs round differently, so that two machines agree to about this much; ranks may move by one.
TOLERANCE = 1e-3
RANK_TOLERANCE = 1.0


@dataclass(frozen=True)
class Difference:
    """One figure that was measured anew.

    Attributes:
        row: the row measured now.
        stored: the same row in the repository.
        protocol, metric: which figure of it.
    """

    row: Row
    stored: Row
    protocol: str
    metric: str

    @property
    def new(self) -> MeanStd:
        """The figure measured now."""
        return self.row.metrics[self.protocol][self.metric]

    @property
    def old(self) -> MeanStd | None:
        """The figure in the repository; None where it has none."""
        return self.stored.metrics.get(self.protocol, {}).get(self.metric)

    @property
    def size(self) -> float:
        """The larger of the differences of mean and deviation; infinite where only one of both has them."""
        if self.old is None or (self.new.deviation is None) != (self.old.deviation is None):
            return float("inf")
        deviations = abs((self.new.deviation or 0.0) - (self.old.deviation or 0.0))
        return max(abs(self.new.mean - self.old.mean), deviations)

    def exceeds(self, tolerance: float) -> bool:
        """Whether the difference is larger than machines explain."""
        return self.size > (RANK_TOLERANCE if self.metric.endswith("_rank") else tolerance)

    def __str__(self) -> str:
        versions = ""
        if self.row.versions != self.stored.versions:
            versions = f" (with {dict(self.row.versions)} instead of {dict(self.stored.versions)})"
        values = f"{_exact(self.new)} instead of {_exact(self.old)}"
        return f"{_named(self.row)}, {self.protocol}, {self.metric}: {values}{versions}"


def compare(results: Reproduction, stored: Reproduction | None, *, tolerance: float = TOLERANCE) -> str:
    """Compare every figure with the one in the repository.

    Args:
        results: measured now; all or some of the rows in the repository.
        stored: the repository's results on the same data set.
        tolerance: largest difference of a mean or deviation. Ranks, which have no upper bound, may differ by one.

    Returns:
        The number of figures compared, and the largest difference with its row.

    Raises:
        InputError: the repository has no results to compare with, or of other pairs.
        TrainingError: figures differ by more; names each row and figure, and the versions of libraries where these
            differ too.
    """
    if stored is None or stored.pairs != results.pairs:
        had = "none" if stored is None else f"some of {stored.pairs}"
        raise InputError(f"The repository has {had}, where {results.dataset} was measured on {results.pairs}.")
    known = {_key(row): row for row in stored.table.rows}
    rows = results.table.rows
    if missing := [_named(row) for row in rows if _key(row) not in known]:
        raise InputError(
            "The repository has no results of these methods with these encoders, code lengths and seeds: "
            f"{', '.join(dict.fromkeys(missing))}."
        )
    found = [one for row in results.table.rows for one in differences(row, known[_key(row)])]
    if beyond := [one for one in found if one.exceeds(tolerance)]:
        lines = [f"{len(beyond)} of {len(found)} figures differ by more than {tolerance:g} from the repository's:"]
        raise TrainingError("\n".join([*lines, *(f"- {one}" for one in beyond)]))
    largest = max((one for one in found if not one.metric.endswith("_rank")), key=lambda one: one.size)
    return (
        f"All {len(found)} figures of {len(results.table.rows)} rows are within {tolerance:g} of the repository's. "
        f"The largest difference is {largest.size:.2g}: {largest}."
    )


def differences(new: Row, stored: Row) -> Iterator[Difference]:
    """One difference per figure of a row, large or none."""
    for protocol, spreads in new.metrics.items():
        for metric in spreads:
            yield Difference(new, stored, protocol, metric)


def _named(row: Row) -> str:
    """The row's method, code length and encoders: "KLSH, 16 bits, efficientnet-lite0 and glove"."""
    encoders = " and ".join(map(str, row.encoders.values()))
    return ", ".join(
        [row.title, *([] if row.bits is None else [f"{row.bits} bits"]), *([encoders] if encoders else [])]
    )


def _key(row: Row) -> tuple[Hashable, ...]:
    return row.title, tuple(row.seeds), *row.key


def _exact(spread: MeanStd | None) -> str:
    """Mean and deviation with more decimals than tables have: ".250633 ± .001234"."""
    if spread is None:
        return "none"
    text = f"{spread.mean:.6f}"
    return text if spread.deviation is None else f"{text} ± {spread.deviation:.6f}"
