"""The schema of results: what `reproduce` and `ablate` measure, as their JSON files hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cmr_hub.encoders.spec import EncoderSpec
from cmr_hub.evaluation import MeanStd

MODALITIES = ("image", "text")
RowKey = tuple[str, int | None, tuple[str, ...]]  # method, code length, encoders
SCHEMA_VERSION = 3  # since 2: weights; since 3: encoders of what was not measured


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything that a file of results holds: a missing, unknown or wrongly typed field is an error."""

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values."""
        return msgspec.to_builtins(self)


class Published(Record, frozen=True, omit_defaults=True):
    """Figures that a publication gives under one protocol.

    Attributes:
        source: the publication; empty where none gives a figure.
        differs: why the figures measured here are others; empty where nothing is known.
        protocol: name of the protocol that the publication measured under.
        metrics: metric -> published value, as far as the publication gives it.
    """

    source: str = ""
    differs: str = ""
    protocol: str = "dscmr"
    metrics: Mapping[str, float] = {}

    def __post_init__(self) -> None:
        if self.metrics and not self.source:
            raise ValueError("Published metrics need their source")

    def under(self, protocol: str) -> Mapping[str, float]:
        """The published metrics of one protocol; empty where the publication measured under another."""
        return self.metrics if protocol == self.protocol else {}


class Row(Record, frozen=True, kw_only=True):
    """One method with one choice of settings on one data set.

    Attributes:
        method: its name in the registry.
        title: its name for people; where the method has several rows, with the settings in which they differ.
        supervision: "supervised" or "unsupervised".
        bits: code length of a hashing method.
        seeds: seeds of the runs; empty for a closed form without randomness.
        runs: number of runs.
        seconds: mean of their training times.
        metrics: protocol -> metric -> mean and deviation.
        measured: protocol -> how many of the runs were measured under it.
        published: what a publication gives.
        settings: what the runs have in common, by short names, the encoders first; a checkpoint with the same settings
            is of the same recipe.
        versions: package -> its versions in the runs.
        weights: digests of the weights that were measured, run by run, as [`~cmr_hub.hub.weights.weights_digest`] has
            them; empty in files of version 1.
        folders: the checkpoints; files of results leave them out.
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
    published: Published = Published()
    settings: Mapping[str, Any] = {}
    versions: Mapping[str, list[str]] = {}
    weights: list[str] = []
    folders: list[str] = []

    @property
    def encoders(self) -> dict[str, EncoderSpec]:
        """Modality -> encoder, with the options that the recipe or the experiment gives it."""
        found = {}
        for modality in filter(self.settings.__contains__, MODALITIES):
            start = f"{modality}."
            given = {name: value for name, value in self.settings.items() if name.startswith(start)}
            options = {name.removeprefix(start): value for name, value in given.items()}
            found[modality] = EncoderSpec(self.settings[modality], options)
        return found

    @property
    def key(self) -> RowKey:
        """Method, code length and encoders: a row that is measured again has those of the earlier one."""
        return self.method, self.bits, tuple(map(str, self.encoders.values()))

    def primary_metric(self, protocol: str) -> str:
        """The first metric of a protocol that is a mean of both directions: mAP, or the mean recall."""
        return next(name for name in self.metrics[protocol] if "/" not in name)

    def primary_mean(self, protocol: str) -> float:
        """The mean of the primary metric, which rows are ranked by."""
        return self.metrics[protocol][self.primary_metric(protocol)].mean


class Table(Record, frozen=True):
    """All runs on one data set.

    Attributes:
        dataset: its name.
        split: the split that was measured.
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
        """Package -> versions, of the packages of which the runs had different versions."""
        packages = dict.fromkeys(package for row in self.rows for package in row.versions)
        found = {
            package: sorted({version for row in self.rows for version in row.versions.get(package, ["none"])})
            for package in packages
        }
        return {package: versions for package, versions in found.items() if len(versions) > 1}


class NotMeasured(Record, frozen=True):
    """A method without a row.

    Attributes:
        method: its name in the registry.
        title: its name for people, with the encoders where these are not the recipe's.
        reason: why it has no row.
        encoders: modality -> encoder, as people write it; in older files only those that differ from the recipe's.
    """

    method: str
    title: str
    reason: str
    encoders: Mapping[str, str] = {}

    def is_of(self, method: str, encoders: Mapping[str, str]) -> bool:
        """Whether it says why a method with these encoders has no row."""
        return self.method == method and self.encoders.items() <= encoders.items()


class Reproduction(Record, frozen=True, kw_only=True):
    """What was measured on one data set.

    Attributes:
        table: the figures under each protocol.
        pairs: split -> number of pairs that it was measured with.
        complete: whether these are all pairs of the data set.
        command: the command line of the whole, or of most of it: single methods may have been measured again since.
        seconds: wall time of that command, summed over its calls where it was interrupted.
        machine: where it ran: "2 cores (x86_64, AVX512), 2 trainings at a time, a thread each".
        not_measured: methods without a row.
        schema_version: version of this schema.
    """

    table: Table
    pairs: Mapping[str, int]
    complete: bool
    command: str
    seconds: float
    machine: str
    not_measured: list[NotMeasured] = []
    schema_version: int = SCHEMA_VERSION

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.table.dataset


class AblationSource(Record, frozen=True, omit_defaults=True):
    """Where the published figures of an ablation come from.

    Attributes:
        source: the publication; empty where there is none.
        dataset: the data set that it measured on, where that is another one.
        differs: why the figures measured here are others.
    """

    source: str = ""
    dataset: str = ""
    differs: str = ""


class AblationRow(Record, frozen=True):
    """One variant.

    Attributes:
        name: as the recipe has it.
        values: metric -> its value for each seed; empty where the variant cannot be measured.
        published: metric -> published value.
        reason: why it cannot be measured.
    """

    name: str
    values: Mapping[str, list[float]]
    published: Mapping[str, float]
    reason: str = ""


class AblationTable(Record, frozen=True):
    """Variants of a method, each measured with the same seeds.

    Attributes:
        title: what is varied.
        method, dataset, seeds: what was trained on what.
        protocol: name of the protocol that defines the figures.
        rows: the variants, in the recipe's order.
        published: where the published figures come from.
        protocol_description: the protocol in one line.
    """

    title: str
    method: str
    dataset: str
    seeds: list[int]
    protocol: str
    rows: list[AblationRow]
    published: AblationSource
    protocol_description: str

    @property
    def primary_metric(self) -> str:
        """The first metric that is a mean of both directions: mAP, or the mean recall."""
        names = [name for row in self.rows for name in (*row.values, *row.published)]
        return next((name for name in names if "/" not in name), "map")
