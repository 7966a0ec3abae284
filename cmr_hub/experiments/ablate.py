"""Train the variants that a recipe compares, and tabulate them beside the published figures."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from datasets import DatasetDict

from cmr_hub.data.labels import is_labelled
from cmr_hub.errors import CMRError, InputError
from cmr_hub.evaluation import DIRECTIONS, Protocol, get_protocol
from cmr_hub.methods import METHODS
from cmr_hub.results.schema import AblationRow, AblationTable
from cmr_hub.training.recipe import Ablation, Recipe, Variant
from cmr_hub.training.run import TrainingRun
from cmr_hub.training.splits import HELD_OUT
from cmr_hub.training.train import check_protocols, train
from cmr_hub.utils.processes import this_process

from .run_cache import cached_run

logger = logging.getLogger(__name__)


def ablate(
    recipe: Recipe,
    dataset: DatasetDict,
    dataset_name: str,
    output_dir: Path,
    *,
    seeds: Sequence[int] = (0,),
    protocol: str | Protocol | None = None,
    command: str = "",
) -> list[AblationTable]:
    """Train every row of every table of a recipe and measure it on the test split.

    Args:
        recipe: what the rows change, with its `ablations`.
        dataset: splits "train" and "test", and "validation" where the source defines one.
        dataset_name: as `cmr_hub.data` knows it.
        output_dir: receives one checkpoint a row and seed, `<table>/<row>/seed-<n>`. A complete one with the same
            settings is kept and not trained again; one that was interrupted goes on.
        seeds: each row is trained once with each.
        protocol: defines the figures and the choice of the epoch, of tables that name no protocols themselves;
            by default what the data set has, see [`~cmr_hub.evaluation.default_protocol`].
        command: for the record.

    Returns:
        The tables, in the recipe's order; one per protocol of those that name several. A row that needs what the data
        set lacks says so and stops no other.

    Raises:
        InputError: the recipe lists no ablations.
        UnknownNameError: a row changes a setting that does not exist.
    """
    if not recipe.ablations:
        raise InputError(f"The recipe of {recipe.method!r} lists no ablations: add a section 'ablations' to it.")
    given = [] if protocol is None else [protocol]
    (asked,) = check_protocols(given, METHODS[recipe.method], has_classes=is_labelled(dataset))
    variants = [table.variants(recipe) for table in recipe.ablations]

    def measure(table: Ablation, name: str, variant: Recipe, protocols: Sequence[Protocol]) -> list[AblationRow]:
        """A row for each protocol."""
        folder, published = Path(output_dir) / slug(table.title) / slug(name), with_average(table.rows[name])
        try:
            runs = [
                cached_or_trained(variant, dataset, dataset_name, folder / f"seed-{seed}", seed, protocols, command)
                for seed in seeds
            ]
        except CMRError as error:
            logger.warning("%s, %s: %s", table.title, name, error)
            return [AblationRow(name, {}, published, str(error)) for _ in protocols]
        rows = []
        for protocol in protocols:
            results = [result_under(protocol, run) for run in runs]
            values = {metric: [result[metric] for result in results] for metric in results[0]}
            rows.append(AblationRow(name, values, published))
        return rows

    tables = []
    for table, recipes in zip(recipe.ablations, variants, strict=True):
        protocols = [get_protocol(name) for name in table.protocols] or [asked]
        measured = [measure(table, name, variant, protocols) for name, variant in recipes.items()]
        tables += [
            AblationTable(
                title=table.title,
                method=recipe.method,
                dataset=dataset_name,
                seeds=list(seeds),
                protocol=protocol.name,
                rows=list(rows),
                published=table.published,
                protocol_description=protocol.describe(),
            )
            for protocol, rows in zip(protocols, zip(*measured, strict=True), strict=True)
        ]
    return tables


def cached_or_trained(
    recipe: Recipe,
    dataset: DatasetDict,
    name: str,
    folder: Path,
    seed: int,
    protocols: Sequence[Protocol],
    command: str,
) -> TrainingRun:
    """The run in `folder` where it is complete and of the same settings; else one trained now."""
    asked = TrainingRun.of(recipe, dataset, name, seed)
    return this_process().run_on_main(lambda: cached_run(asked, folder, protocols)) or train(
        recipe,
        dataset,
        name,
        folder,
        seed=seed,
        protocols=protocols,
        resume=True,
        overwrite=True,
        command=command,
        held_out=HELD_OUT,
    )


def result_under(protocol: Protocol, run: TrainingRun) -> Mapping[str, float]:
    """The test metrics of a run under one protocol."""
    return next(
        entry["metrics"] for entry in run.results if (entry["protocol"], entry["split"]) == (protocol.name, "test")
    )


def with_average(row: Variant) -> dict[str, float]:
    """A row's published metrics, and the mean of both directions where both are given."""
    published = dict(row.published)
    for metric in {name.partition("/")[2] for name in published if "/" in name}:
        both = [published[way] for way in (f"{direction}/{metric}" for direction in DIRECTIONS) if way in published]
        if len(both) == 2:
            published.setdefault(metric, round(mean(both), 4))
    return published


def slug(title: str) -> str:
    """A title as the name of a folder: "word2vec (skip-gram)" to "word2vec-skip-gram"."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
