"""All methods on one data set, each trained with the same seeds on the same splits by one command."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmr_hub.errors import CheckpointError
from cmr_hub.utils.hub import read_json

from .table import Table

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class NotMeasured:
    """A method without a row.

    Attributes:
        method: its name in the registry.
        title: for people.
        reason: why it has none.
    """

    method: str
    title: str
    reason: str


@dataclass(frozen=True)
class Reproduction:
    """What was measured on one data set.

    Attributes:
        table: the figures, under each protocol.
        pairs: split -> pairs that it was measured with.
        complete: whether these are all pairs of the data set.
        command: the command line of the whole, or of most of it: single methods may have been measured again since.
        seconds: wall time of that, the sum over the times that it was called where it was interrupted.
        machine: on what: "2 cores (x86_64, AVX512), 2 trainings at a time, a thread each".
        not_measured: methods without a row.
    """

    table: Table
    pairs: Mapping[str, int]
    complete: bool
    command: str
    seconds: float
    machine: str
    not_measured: Sequence[NotMeasured] = ()

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.table.dataset

    def merged(self, earlier: Reproduction | None) -> Reproduction:
        """With the rows of an earlier one, of what has not been measured now.

        A row gives way to one of the same method and code length. Where another part of the data set was measured,
        nothing of it is kept: the figures do not compare. Command, time and machine are those of the larger of both.
        """
        if earlier is None or (earlier.pairs, earlier.table.split) != (self.pairs, self.table.split):
            return self
        known = {(row.method, row.bits) for row in self.table.rows}
        new = {row.method for row in self.table.rows} | {one.method for one in self.not_measured}
        rows = [row for row in earlier.table.rows if (row.method, row.bits) not in known]
        table = dataclasses.replace(
            self.table,
            # As it is defined now, where both know a protocol.
            protocols={**earlier.table.protocols, **self.table.protocols},
            columns={**earlier.table.columns, **self.table.columns},
            rows=[*self.table.rows, *rows],
        )
        others = [one for one in earlier.not_measured if one.method not in new]
        larger = earlier if len(earlier.table.rows) > len(self.table.rows) else self
        return dataclasses.replace(larger, table=table.in_order(), not_measured=[*self.not_measured, *others])

    def markdown(self) -> str:
        """The table with what it was measured on, how long that took, and what is missing in it."""
        pairs = ", ".join(f"{count:,} {split}" for split, count in self.pairs.items())
        part = "the whole data set" if self.complete else "**a part of the data set**: figures compare with no other's"
        facts = [f"Pairs: {pairs} ({part}). Made by `{self.command}` in {duration(self.seconds)} on {self.machine}."]
        if self.not_measured:
            missing = [f"- {one.title}: {one.reason}" for one in self.not_measured]
            facts += ["Not measured:", "\n".join(missing)]
        heading, rest = self.table.markdown().split("\n\n", 1)
        return "\n\n".join([heading, *facts, "Protocols:", rest])  # without a word between them, two lists are one

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values, but for the folders of this machine."""
        rows = [dataclasses.replace(row, folders=[]) for row in self.table.rows]
        return dataclasses.asdict(dataclasses.replace(self, table=dataclasses.replace(self.table, rows=rows)))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Reproduction:
        """What [`to_dict`] gave.

        Raises:
            KeyError, TypeError, AttributeError: it is of another version of cmr_hub.
        """
        missing = [NotMeasured(**one) for one in content["not_measured"]]
        return cls(**{**content, "table": Table.from_dict(content["table"]), "not_measured": missing})


def list_results() -> list[Reproduction]:
    """What comes with the package, data set by data set.

    Raises:
        CheckpointError: a file is damaged; names it.

    Example:

    ```python
    >>> from cmr_hub.results import list_results
    >>> wiki = next(results for results in list_results() if results.dataset == "wiki")
    >>> wiki.pairs, wiki.complete
    ({'train': 2173, 'test': 693}, True)
    ```
    """
    return [read_results(path) for path in sorted(FOLDER.glob("*.json"))]


def read_results(path: Path) -> Reproduction:
    """One file of `python -m training reproduce`.

    Raises:
        CheckpointError: the file is missing, damaged or of another version.
    """
    content = read_json(path)
    try:
        return Reproduction.from_dict(content)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged, or of another version of cmr_hub ({error!r}).") from error


def results_path(dataset: str, folder: Path = FOLDER) -> Path:
    """Where the results on a data set are kept."""
    return folder / f"{dataset}.json"


def duration(seconds: float) -> str:
    """For people: "43 s", "12 min", "3 h 05 min".

    Example:

    ```python
    >>> duration(43.2), duration(700), duration(11_100)
    ('43 s', '12 min', '3 h 05 min')
    ```
    """
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
