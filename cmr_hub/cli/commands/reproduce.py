"""`cmr reproduce`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from cmr_hub.cli.command import Command, deprecate
from cmr_hub.cli.experiment import ReproduceExperiment, experiment_option
from cmr_hub.cli.options import (
    DatasetChoice,
    backend_options,
    bits_option,
    dataset_options,
    encoder_choice_options,
    methods_option,
    option,
    output_dir_option,
    seeds_option,
)
from cmr_hub.errors import TrainingError

if TYPE_CHECKING:
    from cmr_hub.experiments.encoder_choice import EncoderChoice

REPOSITORY = Path(__file__).resolve().parents[3]


def read_seeds(ctx: click.Context, param: click.Parameter, seeds: tuple[int, ...]) -> tuple[int, ...]:
    """The seeds. `python -m training reproduce --seeds 3` means three of them, not the seed 3."""
    is_count = ctx.obj and len(seeds) == 1 and ctx.get_parameter_source("seeds") is ParameterSource.COMMANDLINE
    if not is_count:
        return seeds
    if seeds[0] < 1:
        raise click.BadParameter(f"there must be one seed at least, not {seeds[0]}.", ctx=ctx, param=param)
    counted = tuple(range(seeds[0]))
    deprecate(f"--seeds {seeds[0]} as a number of seeds", " ".join(["--seeds", *map(str, counted)]))
    return counted


@click.command("reproduce", cls=Command, requires={"joblib": "train", "threadpoolctl": "train", "matplotlib": "train"})
@experiment_option(ReproduceExperiment)
@dataset_options
@methods_option
@seeds_option("Seeds of methods that draw random numbers.", default=(0, 1, 2), callback=read_seeds)
@bits_option("Code lengths of hashing methods.", default=(16, 32, 64, 128))
@encoder_choice_options
@output_dir_option("Receives the checkpoints. By default outputs/reproduce/<dataset>.", required=False)
@backend_options
@option("--jobs", type=int, help="Trainings at a time, of one thread each. By default one per core.")
@option("--only-finished", is_flag=True, help="Train nothing: tabulate what the output folder holds.")
@option("--check", is_flag=True, help="Compare with the stored results instead of writing them.")
def command(
    *,
    data: DatasetChoice,
    methods: Sequence[str],
    seeds: Sequence[int],
    bits: Sequence[int],
    choices: Sequence[EncoderChoice],
    output_dir: Path | None,
    jobs: int | None,
    only_finished: bool,
    check: bool,
) -> None:
    """Train all methods on a data set, and tabulate them next to the published figures."""
    from cmr_hub.experiments.publish import refresh_cards
    from cmr_hub.experiments.reproduce import Plan, reproduce
    from cmr_hub.experiments.workers import usable_cores
    from cmr_hub.results.check import compare
    from cmr_hub.results.markdown import results_markdown
    from cmr_hub.results.page import write_results_page
    from cmr_hub.results.store import record, stored_results, write_results
    from cmr_hub.training.recipe import methods_with_recipe

    plan = Plan(
        dataset=data.dataset,
        data_dir=data.data_dir,
        output_dir=output_dir or Path("outputs", "reproduce", data.dataset),
        methods=methods_with_recipe() if "all" in methods else methods,
        seeds=seeds,
        bits=bits,
        choices=choices,
        options=data.dataset_option,
        trains=not only_finished,
    )
    stored = stored_results(data.dataset)
    results, outcomes = reproduce(plan, jobs=usable_cores() if jobs is None else jobs, earlier=stored)
    write_results(results, plan.output_dir / "results.json")
    logging.info("%s", results_markdown(results))
    if check:
        logging.info("%s", compare(results, stored))
    elif not (REPOSITORY / "pyproject.toml").is_file():
        logging.info("This is no checkout: the results stay in the folder.")
    else:
        record(results, {outcome.task.row_key for outcome in outcomes})
        refresh_cards(data.dataset)
        write_results_page(REPOSITORY)
    if failed := [outcome for outcome in outcomes if outcome.failed]:
        listed = "\n".join(f"- {outcome.task.title}: {outcome.reason}" for outcome in failed)
        raise TrainingError(
            f"{len(failed)} of {len(outcomes)} trainings failed; the same command tries them again:\n{listed}"
        )
