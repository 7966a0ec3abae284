"""What training runs measured as Markdown, data set by data set: a row a method, mean and deviation over its seeds."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from cmr_hub import list_methods
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.evaluation import Spread, decimals, get_protocol
from cmr_hub.hub import read_json
from cmr_hub.leaderboard import RUN_NAME
from cmr_hub.registry import METHODS

from .cells import DIRECTIONS, markdown_row, metric_title, seconds_cell, seeds_cell, value_cell
from .code_table import code_table
from .recipe import load_recipe
from .seeds import over_runs
from .train import TRAINER_FOLDER, TrainingRun

logger = logging.getLogger(__name__)

Settings = dict[str, Any]

AVERAGES = {"map": " average", "mean_recall": ""}  # means of both directions that have a column, and its heading

LEGEND = (
    "Mean ± sample deviation over the seeds; the best mean of each column is bold. Seconds are those of training "
    "alone, on the machine that each run had."
)


@dataclass(frozen=True)
class Checkpoint:
    """A finished run and where it lies."""

    folder: Path
    run: TrainingRun

    @property
    def bits(self) -> int | None:
        """Code length of a hashing method."""
        is_binary = METHODS[self.run.method].representation == "binary"
        return read_json(self.folder / "config.json")["embed_dim"] if is_binary else None

    @property
    def settings(self) -> Settings:
        """All that a run of the same method on the same data may differ in, beside the seed, by short names."""
        recipe, settings = self.run.recipe, {}
        for side, spec in recipe["encoders"].items():
            options = {"name": spec} if isinstance(spec, str) else dict(spec)
            settings[side] = options.pop("name")
            settings |= {f"{side}.{name}": value for name, value in options.items()}
        settings |= {**recipe["config"], **recipe["training"], "patience": recipe["early_stopping_patience"]}
        settings |= {"captions": recipe.get("captions", "set"), "turns": recipe.get("turns", [])}
        settings |= {f"tuned.{name}": value for name, value in (self.run.tuned or {}).items()}
        return settings | {"dtype": read_json(self.folder / "config.json").get("dtype")}

    def entry(self, protocol: str, split: str) -> dict[str, Any] | None:
        """What was measured under a protocol on a split."""
        found = (entry for entry in self.run.results if (entry["protocol"], entry["split"]) == (protocol, split))
        return next(found, None)


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
        published: what a publication gives: `source`, `metrics` and, where it is not "dscmr", `protocol`.
        folders: the checkpoints.
    """

    method: str
    title: str
    supervision: str
    bits: int | None
    seeds: list[int]
    runs: int
    seconds: float
    metrics: dict[str, dict[str, Spread]]
    measured: dict[str, int]
    published: dict[str, Any]
    folders: list[str]


@dataclass(frozen=True)
class Table:
    """All runs on one data set.

    Attributes:
        dataset: its name.
        split: what was measured on.
        protocols: name -> the line that describes it; the rows are sorted by the first.
        columns: protocol -> names of its metrics.
        rows: best first.
        versions: package -> versions, of packages that the runs had in different versions.
    """

    dataset: str
    split: str
    protocols: dict[str, str]
    columns: dict[str, list[str]]
    rows: list[Row]
    versions: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values; metrics that the Markdown leaves out included."""
        return dataclasses.asdict(self)

    def markdown(self) -> str:
        """The tables with their heading, the protocols above them and notes beneath them.

        Hashing methods stand apart, in one table a protocol with a column a code length.
        """
        protocols = "\n".join(f"- {description}" for description in self.protocols.values())
        parts = [f"## {self.dataset}, {self.split} split", protocols]
        real_valued = dataclasses.replace(self, rows=[row for row in self.rows if row.bits is None])
        codes = [row for row in self.rows if row.bits is not None]
        if real_valued.rows:
            parts.append(real_valued._one_table())
        for protocol in self.protocols:
            measured = [row for row in codes if protocol in row.metrics]
            if measured:
                parts.append(code_table(measured, protocol))
        parts.append(LEGEND)
        if self.versions:
            listed = "; ".join(f"{package} {', '.join(found)}" for package, found in self.versions.items())
            parts.append(f"The runs had different versions of libraries: {listed}.")
        return "\n\n".join(parts) + "\n"

    def _one_table(self) -> str:
        columns = self._columns()
        best = {column: self._best(*column) for column in columns}
        with_published = any(self._published(row) for row in self.rows)
        head = ["method", "supervision", *columns.values(), "seeds", "seconds"]
        lines = [head + ["published"] * with_published, ["---"] * (len(head) + with_published)]
        for row in self.rows:
            cells = [row.title, row.supervision]
            cells += [value_cell(row, *column, best[column]) for column in columns]
            cells += [seeds_cell(row), seconds_cell(row.seconds)]
            lines.append(cells + [self._published(row) or "–"] * with_published)
        return "\n".join(map(markdown_row, lines))

    def _columns(self) -> dict[tuple[str, str], str]:
        """(protocol, metric) -> heading. Ranks are left out; mAP has its average beside both directions, mR alone."""
        measured = {protocol for row in self.rows for protocol in row.metrics}
        shown = {protocol: metrics for protocol, metrics in self.columns.items() if protocol in measured}
        names = [name for metrics in shown.values() for name in metrics]
        columns = {}
        for protocol, metrics in shown.items():
            for name in metrics:
                direction = next((way for way in DIRECTIONS if name.startswith(way)), "")
                plain = name.removeprefix(direction)
                if plain.endswith("_rank") or (plain == "mean_recall" if direction else plain not in AVERAGES):
                    continue
                owner = f"{protocol} " if names.count(name) > 1 else ""
                of = f" {DIRECTIONS[direction]}" if direction else AVERAGES[plain]
                columns[protocol, name] = f"{owner}{metric_title(plain)}{of}"
        return columns

    def _best(self, protocol: str, name: str) -> str | None:
        """The best mean of a column as it is printed; none where there is nothing to compare."""
        means = [row.metrics[protocol][name].mean for row in self.rows if protocol in row.metrics]
        return decimals(max(means)) if len(means) > 1 else None

    def _published(self, row: Row) -> str:
        if not row.published or row.published.get("protocol", "dscmr") not in self.protocols:
            return ""
        given = row.published["metrics"]
        figures = []
        for metric in dict.fromkeys(name.split("/")[-1] for name in given):
            names = [way + metric for way in DIRECTIONS if way + metric in given] or [metric]
            values = [decimals(given[name]) for name in names]
            figures.append(f"{metric_title(metric)} {' / '.join(values)}")
        return f"{row.published['source']}: {', '.join(figures)}"


def find_checkpoints(folders: Sequence[Path]) -> list[Checkpoint]:
    """The finished runs in some folders, at any depth; those that were interrupted are named in a warning.

    Raises:
        InputError: a folder does not exist or holds no finished run.
        CheckpointError: a record cannot be read.
    """
    found: dict[Path, Checkpoint] = {}
    for top in folders:
        if not top.is_dir():
            raise InputError(f"There is no folder {top}. Name a checkpoint that `train` made, or a folder of some.")
        unfinished = {path.parent for path in top.rglob(TRAINER_FOLDER) if path.is_dir()}
        for folder in sorted(unfinished):
            logger.warning("%s holds an interrupted run and is left out: finish it with --resume.", folder)
        records = [path.parent for path in top.rglob(RUN_NAME) if not _is_hidden(path.relative_to(top))]
        finished = [folder for folder in sorted(records) if folder not in unfinished]
        if not finished:
            raise InputError(f"{top} holds no finished run: no {RUN_NAME} is in it, at any depth.")
        found |= {folder.resolve(): Checkpoint(folder, TrainingRun.load(folder)) for folder in finished}
    return list(found.values())


def make_tables(
    checkpoints: Sequence[Checkpoint], protocols: Sequence[str] | None = None, split: str = "test"
) -> list[Table]:
    """One table a data set.

    Args:
        checkpoints: the runs. Those of one method on one data set with the same settings are one row; other
            settings are another row, and its title says what differs.
        protocols: whose metrics become columns; all that were measured on the data set by default. The first sorts the
            rows.
        split: what was measured on.

    Raises:
        UnknownNameError: there is no such protocol.
        CheckpointError: a run is of a method that this cmr_hub does not have.
        InputError: no run was measured under a protocol on this split, two runs have the same settings and the same
            seed, or two runs mean different things by one protocol's name.
    """
    for checkpoint in checkpoints:
        if checkpoint.run.method not in METHODS:
            raise CheckpointError(
                f"{checkpoint.folder} is of {checkpoint.run.method!r}, which is no method of this cmr_hub "
                f"({', '.join(sorted(METHODS))}): leave it out."
            )
    entries = [(c, entry) for c in checkpoints for entry in c.run.results if entry["split"] == split]
    descriptions: dict[str, str] = {}
    columns: dict[str, list[str]] = {}
    described_in: dict[str, Checkpoint] = {}
    for checkpoint, entry in entries:
        name = entry["protocol"]
        if descriptions.setdefault(name, entry["description"]) != entry["description"]:
            raise InputError(
                f"{described_in[name].folder} and {checkpoint.folder} were measured under different definitions of "
                f"protocol {name!r}: measure both again with `python -m training evaluate --protocol {name} --record`."
            )
        described_in.setdefault(name, checkpoint)
        columns.setdefault(name, list(entry["metrics"]))
    for name in protocols or ():
        if name not in descriptions:
            get_protocol(name)
            raise InputError(
                f"None of these runs was measured under {name!r} on the {split} split: add it with "
                f"`python -m training evaluate --split {split} --protocol {name} --record`."
            )
    if not entries:
        raise InputError(f"None of these runs was measured on the {split} split.")

    def make_table(dataset: str) -> Table:
        names = list(dict.fromkeys(protocols or (e["protocol"] for c, e in entries if c.run.dataset == dataset)))
        of_dataset = [checkpoint for checkpoint in checkpoints if checkpoint.run.dataset == dataset]
        return Table(
            dataset=dataset,
            split=split,
            protocols={name: descriptions[name] for name in names},
            columns={name: columns[name] for name in names},
            rows=_sorted_rows(of_dataset, names, split, columns[names[0]]),
            versions=_different_versions([checkpoint.run for checkpoint in of_dataset]),
        )

    return [make_table(dataset) for dataset in sorted({checkpoint.run.dataset for checkpoint, _ in entries})]


def _sorted_rows(
    checkpoints: Sequence[Checkpoint], protocols: Sequence[str], split: str, metrics: Sequence[str]
) -> list[Row]:
    average = next(name for name in metrics if "/" not in name)  # the mean of both directions comes first of these

    def order(row: Row) -> tuple[float, str]:
        measured = row.metrics.get(protocols[0])
        return (-measured[average].mean if measured else 0.0, row.title)

    rows = []
    for method in {checkpoint.run.method for checkpoint in checkpoints}:
        groups = _group([checkpoint for checkpoint in checkpoints if checkpoint.run.method == method])
        settings = [_without_length(group[0]) for group in groups]
        rows += [
            _row(group, _differences(own, settings), protocols, split)
            for group, own in zip(groups, settings, strict=True)
        ]
    return sorted(rows, key=order)


def _without_length(checkpoint: Checkpoint) -> Settings:
    """The settings but for a code's length, which has a column of its own."""
    return {
        name: value for name, value in checkpoint.settings.items() if checkpoint.bits is None or name != "embed_dim"
    }


def _group(checkpoints: Sequence[Checkpoint]) -> list[list[Checkpoint]]:
    """Checkpoints of one method with the same settings together, each seed once."""
    groups: list[tuple[Settings, dict[int, Checkpoint]]] = []
    for checkpoint in checkpoints:
        settings = checkpoint.settings
        group = next((group for of_group, group in groups if of_group == settings), None)
        if group is None:
            groups.append((settings, group := {}))
        twin = group.setdefault(checkpoint.run.seed, checkpoint)
        if twin is not checkpoint:
            raise InputError(
                f"{twin.folder} and {checkpoint.folder} are of the same method, settings and seed "
                f"({checkpoint.run.method}, {checkpoint.run.seed}): a mean would count it twice. Name one of them."
            )
    return [[group[seed] for seed in sorted(group)] for _, group in groups]


def _differences(own: Settings, all_settings: Sequence[Settings]) -> str:
    """The settings of one row that other rows of its method do not share: "text=bow, learning_rate=0.001"."""
    names = dict.fromkeys(name for settings in all_settings for name in settings)
    differing = [name for name in names if any(other.get(name, ...) != own.get(name, ...) for other in all_settings)]
    return ", ".join(f"{name}={own[name]}" if name in own else f"no {name}" for name in differing)


def _row(group: Sequence[Checkpoint], differences: str, protocols: Sequence[str], split: str) -> Row:
    run = group[0].run
    uses_chance = METHODS[run.method].uses_chance
    title = load_recipe(run.method, run.dataset).title
    found = {name: [entry for c in group if (entry := c.entry(name, split))] for name in protocols}
    metrics = {name: over_runs(entries) for name, entries in found.items() if entries}
    if not uses_chance:  # seeds change nothing, so that there is nothing to deviate
        metrics = {
            name: {metric: Spread(spread.mean, None) for metric, spread in spreads.items()}
            for name, spreads in metrics.items()
        }
    return Row(
        method=run.method,
        title=f"{title} ({differences})" if differences else title,
        supervision=list_methods(run.method)[0].supervision,
        bits=group[0].bits,
        seeds=[checkpoint.run.seed for checkpoint in group] if uses_chance else [],
        runs=len(group),
        seconds=mean(checkpoint.run.seconds for checkpoint in group),
        metrics=metrics,
        measured={name: len(entries) for name, entries in found.items()},
        published=dict(run.recipe["published"]),
        folders=[str(checkpoint.folder) for checkpoint in group],
    )


def _different_versions(runs: Sequence[TrainingRun]) -> dict[str, list[str]]:
    packages = dict.fromkeys(package for run in runs for package in run.versions)
    found = {package: sorted({run.versions.get(package, "none") for run in runs}) for package in packages}
    return {package: versions for package, versions in found.items() if len(versions) > 1}


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
