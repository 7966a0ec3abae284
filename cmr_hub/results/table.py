"""All runs on one data set as Markdown and as JSON: a row a method, mean and deviation over its seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cmr_hub.evaluation import MeanStd, decimals

from .cells import (
    AVERAGES,
    DIRECTIONS,
    best_mean,
    cited_figures,
    has_column,
    markdown_row,
    metric_title,
    seconds_cell,
    seeds_cell,
    value_cell,
)
from .code_table import code_table
from .leaderboard import published_under
from .ranking import best_first

LEGEND = (
    "Mean ± sample deviation over the seeds; the best mean of each column is bold. Seconds are those of training "
    "alone, on the machine that each run had."
)


@dataclass(frozen=True)
class Row:
    """One method with one choice of settings on one data set.

    Attributes:
        method: its name in the registry.
        title: for people; where the method has several rows, with the settings in which they differ.
        supervision: what it learns from.
        bits: code length of a hashing method.
        seeds: seeds of the runs; none of a closed form, which chance has no part in.
        runs: how many runs there are.
        seconds: mean of their training times.
        metrics: protocol -> metric -> mean and deviation.
        measured: protocol -> how many of the runs were measured under it.
        published: what a publication gives: `source`, `metrics`, where it is not "dscmr" `protocol`, and where the
            figures here are others the reason, `differs`.
        settings: what the runs have in common, by short names; a checkpoint with the same is of the same recipe.
        versions: package -> its versions in the runs.
        folders: the checkpoints.
    """

    method: str
    title: str
    supervision: str
    bits: int | None
    seeds: list[int]
    runs: int
    seconds: float
    metrics: Mapping[str, Mapping[str, MeanStd]]
    measured: Mapping[str, int]
    published: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, list[str]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Row:
        """What `Table.to_dict` made of a row.

        Raises:
            KeyError, TypeError, AttributeError: it is of another version of cmr_hub.
        """
        metrics = {
            protocol: {name: MeanStd(**spread) for name, spread in spreads.items()}
            for protocol, spreads in content["metrics"].items()
        }
        return cls(**{**content, "metrics": metrics})


@dataclass(frozen=True)
class Table:
    """All runs on one data set.

    Attributes:
        dataset: its name.
        split: what was measured on.
        protocols: name -> the line that describes it; the rows are sorted by the first.
        columns: protocol -> names of its metrics.
        rows: best first.
    """

    dataset: str
    split: str
    protocols: Mapping[str, str]
    columns: Mapping[str, list[str]]
    rows: list[Row]

    @property
    def versions(self) -> dict[str, list[str]]:
        """Package -> versions, of packages that the runs had in different versions."""
        packages = dict.fromkeys(package for row in self.rows for package in row.versions)
        found = {
            package: sorted({version for row in self.rows for version in row.versions.get(package, ["none"])})
            for package in packages
        }
        return {package: versions for package, versions in found.items() if len(versions) > 1}

    def in_order(self) -> Table:
        """With the rows best first by the first protocol; those that were not measured under it last."""
        first = next(iter(self.protocols))
        others = [row for row in self.rows if first not in row.metrics]
        ranked = best_first(self.rows, first) + sorted(others, key=lambda row: row.title)
        return dataclasses.replace(self, rows=ranked)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values; metrics that the Markdown leaves out included."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Table:
        """What [`to_dict`] gave.

        Raises:
            KeyError, TypeError, AttributeError: it is of another version of cmr_hub.
        """
        return cls(**{**content, "rows": [Row.from_dict(row) for row in content["rows"]]})

    def markdown(self) -> str:
        """The tables with their heading, the protocols above them and notes beneath them.

        Real-valued methods stand side by side under the protocols that all of them were measured under; one that
        only some were has a table of its own. So has each protocol of hashing methods, with a column a code length.
        """
        protocols = "\n".join(f"- {description}" for description in self.protocols.values())
        parts = [f"## {self.dataset}, {self.split} split", protocols]
        floats = [row for row in self.rows if row.bits is None]
        codes = [row for row in self.rows if row.bits is not None]
        shared = [name for name in self.protocols if floats and all(name in row.metrics for row in floats)]
        if shared:
            parts.append(self._part(floats, shared))
        for protocol in self.protocols:
            if own := [row for row in floats if protocol in row.metrics and protocol not in shared]:
                parts += [f"### Under {protocol}", self._part(own, [protocol])]
        for protocol in self.protocols:
            if own := [row for row in codes if protocol in row.metrics]:
                parts.append(code_table(own, protocol))
        parts += [*self._reasons(), LEGEND]
        if self.versions:
            listed = "; ".join(f"{package} {', '.join(found)}" for package, found in self.versions.items())
            parts.append(f"The runs had different versions of libraries: {listed}.")
        return "\n\n".join(parts) + "\n"

    def _part(self, rows: Sequence[Row], protocols: Sequence[str]) -> str:
        """Some of the rows under some of the protocols, as one table."""
        columns = self._columns(protocols)
        best = {column: best_mean(rows, *column) for column in columns}
        published = {id(row): _published(row, protocols) for row in rows}
        with_published = any(published.values())
        head = ["method", "supervision", *columns.values(), "seeds", "seconds"]
        lines = [head + ["published"] * with_published, ["---"] * (len(head) + with_published)]
        for row in best_first(rows, protocols[0]):
            cells = [row.title, row.supervision]
            cells += [value_cell(row, *column, best[column]) for column in columns]
            cells += [seeds_cell(row), seconds_cell(row.seconds)]
            lines.append(cells + [published[id(row)] or "–"] * with_published)
        return "\n".join(map(markdown_row, lines))

    def _columns(self, protocols: Sequence[str]) -> dict[tuple[str, str], str]:
        """(protocol, metric) -> heading."""
        names = [name for protocol in protocols for name in self.columns[protocol]]
        columns = {}
        for protocol in protocols:
            for name in self.columns[protocol]:
                if not has_column(name):
                    continue
                direction = next((way for way in DIRECTIONS if name.startswith(way)), "")
                plain = name.removeprefix(direction)
                caption_to_image = f"{protocol} " if names.count(name) > 1 else ""
                of = f" {DIRECTIONS[direction]}" if direction else AVERAGES[plain]
                columns[protocol, name] = f"{caption_to_image}{metric_title(plain)}{of}"
        return columns

    def _reasons(self) -> list[str]:
        """Why figures here are others than the published ones, method by method, as one part; maybe none."""
        said = {
            row.title: row.published["differs"]
            for row in self.rows
            if row.published.get("protocol", "dscmr") in row.metrics and "differs" in row.published
        }
        lines = [f"- {title}: {reason}" for title, reason in said.items()]
        return ["\n".join(["Why figures are not those published:", "", *lines])] if said else []


def _published(row: Row, protocols: Sequence[str]) -> str:
    found = next((given for name in protocols if (given := published_under(row.published, name))), None)
    if not found:
        return ""
    cited = cited_figures(found["metrics"]).items()
    figures = ", ".join(f"{metric_title(metric)} {' / '.join(map(decimals, values))}" for metric, values in cited)
    return f"{found['source']}: {figures}"
