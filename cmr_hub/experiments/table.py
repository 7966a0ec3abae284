"""From training runs to tables, data set by data set: those that differ in the seed alone are one row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import xxhash

from cmr_hub.encoders.spec import EncoderSpec
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.evaluation import MeanStd, get_protocol
from cmr_hub.hub.checkpoints import RUN_NAME
from cmr_hub.hub.weights import is_of_other_weights
from cmr_hub.methods import METHODS, list_methods
from cmr_hub.results import Row, Table
from cmr_hub.results.ranking import in_order
from cmr_hub.results.schema import MODALITIES, Published
from cmr_hub.results.store import convert
from cmr_hub.training.run import TRAINER_FOLDER, TrainingRun
from cmr_hub.utils.checkpoint_files import read_json

from .seeds import over_runs

logger = logging.getLogger(__name__)

Settings = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A finished run and where it lies."""

    folder: Path
    run: TrainingRun

    @property
    def bits(self) -> int | None:
        """Code length of a hashing method."""
        is_hashing = METHODS[self.run.method].is_hashing
        return read_json(self.folder / "config.json")["embed_dim"] if is_hashing else None

    @property
    def settings(self) -> Settings:
        """All that a run of the same method on the same data may differ in, apart from the seed, by short names."""
        recipe, settings = self.run.recipe, {}
        for modality, spec in recipe["encoders"].items():
            encoder = EncoderSpec.parse(spec)
            settings[modality] = encoder.name
            settings |= {f"{modality}.{name}": value for name, value in encoder.options.items()}
        settings |= {**recipe["config"], **recipe["training"], "patience": recipe["early_stopping_patience"]}
        settings |= {"captions": recipe.get("captions", "set"), "augmentations": recipe.get("augmentations", [])}
        settings |= {f"tuned.{name}": value for name, value in (self.run.tuned or {}).items()}
        return settings | {"dtype": read_json(self.folder / "config.json").get("dtype")}

    def entry(self, protocol: str, split: str) -> dict[str, Any] | None:
        """What was measured under a protocol on a split."""
        found = (entry for entry in self.run.results if (entry["protocol"], entry["split"]) == (protocol, split))
        return next(found, None)


def find_checkpoints(folders: Sequence[Path]) -> list[Checkpoint]:
    """The finished runs in some folders, at any depth; a warning names those that were interrupted.

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
        finished = []
        for folder in sorted(set(records) - unfinished):
            if is_of_other_weights(read_json(folder / RUN_NAME).get("weights"), folder):
                logger.warning("%s holds the record of other weights and is left out: train it again.", folder)
            else:
                finished.append(folder)
        if not finished:
            raise InputError(f"{top} holds no finished run: no {RUN_NAME} is in it, at any depth.")
        found |= {folder.resolve(): Checkpoint(folder, TrainingRun.load(folder)) for folder in finished}
    return list(found.values())


def make_tables(
    checkpoints: Sequence[Checkpoint], protocols: Sequence[str] | None = None, split: str = "test"
) -> list[Table]:
    """One table per data set; data of one name and different content are different data sets.

    Args:
        checkpoints: the runs. Those of one method on one data set with the same settings are one row; other
            settings are another row, and its title says what differs, apart from the encoders.
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
                f"protocol {name!r}: measure both again with `cmr evaluate --protocols {name} --record`."
            )
        described_in.setdefault(name, checkpoint)
        columns.setdefault(name, list(entry["metrics"]))
    for name in protocols or ():
        if name not in descriptions:
            get_protocol(name)
            raise InputError(
                f"None of these runs was measured under {name!r} on the {split} split: add it with "
                f"`cmr evaluate --split {split} --protocols {name} --record`."
            )
    if not entries:
        others = dict.fromkeys(entry["split"] for checkpoint in checkpoints for entry in checkpoint.run.results)
        hint = "".join(f" Add --split {other} for those on the {other} split." for other in others)
        raise InputError(f"None of these runs was measured on the {split} split.{hint}")

    tables = []
    for title, of_data in sorted(_by_data(checkpoints).items()):
        measured = [entry["protocol"] for one in of_data for entry in one.run.results if entry["split"] == split]
        if not measured:
            continue
        names = list(dict.fromkeys(protocols or measured))
        table = Table(
            dataset=title,
            split=split,
            protocols={name: descriptions[name] for name in names},
            columns={name: columns[name] for name in names},
            rows=_rows(of_data, names, split),
        )
        tables.append(in_order(table))
    return tables


def _by_data(checkpoints: Sequence[Checkpoint]) -> dict[str, list[Checkpoint]]:
    """Checkpoints of the same data together, by what these are called.

    Data are the same where their digests are; a record of before these were stored is of the first data of its name.
    Two of one name are told apart by the beginning of a digest.
    """
    groups: dict[str, dict[str, list[Checkpoint]]] = {}
    for checkpoint in sorted(checkpoints, key=lambda checkpoint: checkpoint.run.data is None):
        of_name = groups.setdefault(checkpoint.run.dataset, {})
        digest = next(iter(of_name), "") if checkpoint.run.data is None else _digest(checkpoint.run.data)
        of_name.setdefault(digest, []).append(checkpoint)
    titled = [
        (next((one.run.data_name for one in group if one.run.data_name), dataset), digest, group)
        for dataset, of_name in groups.items()
        for digest, group in of_name.items()
    ]
    shared = Counter(title for title, _, _ in titled)
    return {title if shared[title] == 1 else f"{title} ({digest})": group for title, digest, group in titled}


def _digest(data: Mapping[str, str]) -> str:
    """A short digest of the digests of all splits."""
    return xxhash.xxh3_64("\0".join(f"{split} {data[split]}" for split in sorted(data)).encode()).hexdigest()[:8]


def same_recipe(row: Row, checkpoint: Checkpoint) -> bool:
    """Whether a row is of the settings that a checkpoint was trained with, in whatever precision it is stored."""
    own = {**_without_length(row.settings, row.bits), "dtype": None}
    given = {**_without_length(checkpoint.settings, checkpoint.bits), "dtype": None}
    return (row.method, row.bits, own) == (checkpoint.run.method, checkpoint.bits, given)


def _rows(checkpoints: Sequence[Checkpoint], protocols: Sequence[str], split: str) -> list[Row]:
    rows = []
    for method in {checkpoint.run.method for checkpoint in checkpoints}:
        groups = _group([checkpoint for checkpoint in checkpoints if checkpoint.run.method == method])
        settings = [_without_columns(group[0].settings, group[0].bits) for group in groups]
        rows += [
            _row(group, _differences(own, settings), protocols, split)
            for group, own in zip(groups, settings, strict=True)
        ]
    return rows


def _without_length(settings: Mapping[str, Any], bits: int | None) -> Settings:
    """The settings but for a code's length, which has a column of its own."""
    return {name: value for name, value in settings.items() if bits is None or name != "embed_dim"}


def _without_columns(settings: Mapping[str, Any], bits: int | None) -> Settings:
    """The settings but for those that have a column of their own: a code's length, the encoders."""
    own = _without_length(settings, bits)
    return {name: value for name, value in own.items() if name.partition(".")[0] not in MODALITIES}


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
    """The settings of one row that other rows of its method do not share: "patience=5, learning_rate=0.001"."""
    names = dict.fromkeys(name for settings in all_settings for name in settings)
    differing = [name for name in names if any(other.get(name, ...) != own.get(name, ...) for other in all_settings)]
    return ", ".join(f"{name}={own[name]}" if name in own else f"no {name}" for name in differing)


def _row(group: Sequence[Checkpoint], differences: str, protocols: Sequence[str], split: str) -> Row:
    run = group[0].run
    is_stochastic = METHODS[run.method].is_stochastic
    title = METHODS[run.method].title
    found = {name: [entry for c in group if (entry := c.entry(name, split))] for name in protocols}
    metrics = {name: over_runs(entries) for name, entries in found.items() if entries}
    if not is_stochastic:  # seeds change nothing, so that there is nothing to deviate
        metrics = {
            name: {metric: MeanStd(spread.mean, None) for metric, spread in spreads.items()}
            for name, spreads in metrics.items()
        }
    return Row(
        method=run.method,
        title=f"{title} ({differences})" if differences else title,
        supervision=list_methods(run.method)[0].supervision,
        bits=group[0].bits,
        seeds=[checkpoint.run.seed for checkpoint in group] if is_stochastic else [],
        runs=len(group),
        seconds=mean(checkpoint.run.seconds for checkpoint in group),
        metrics=metrics,
        measured={name: len(entries) for name, entries in found.items()},
        published=convert(run.recipe["published"], Published, group[0].folder / RUN_NAME),
        settings=group[0].settings,
        versions=_versions([checkpoint.run for checkpoint in group]),
        weights=[checkpoint.run.weights for checkpoint in group if checkpoint.run.weights is not None],
        folders=[str(checkpoint.folder) for checkpoint in group],
    )


def _versions(runs: Sequence[TrainingRun]) -> dict[str, list[str]]:
    packages = dict.fromkeys(package for run in runs for package in run.versions)
    return {package: sorted({run.versions.get(package, "none") for run in runs}) for package in packages}


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
