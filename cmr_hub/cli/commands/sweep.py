"""`cmr sweep`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import click

from cmr_hub.cli.command import recorded_command
from cmr_hub.cli.options import (
    DEFAULT_PROTOCOL,
    DatasetChoice,
    TrainingSettings,
    dataset_options,
    method_option,
    option,
    output_dir_option,
    patience_option,
    protocol_option,
    seed_option,
    training_options,
)
from cmr_hub.cli.training_arguments import TrainingCommand


@click.command("sweep", cls=TrainingCommand, requires={"optuna": "sweep"})
@method_option
@dataset_options
@output_dir_option("Receives sweep.db and sweep.json.")
@option(
    "--search",
    several=True,
    required=True,
    metavar="NAME=KIND:VALUES",
    help="Fields of TrainingArguments, or config.FIELD, with their values: =log:1e-5:1e-2, =float:0:1, =int:2:8 or "
    "=choice:256,512.",
)
@option("--trials", type=int, default=20, help="Number of trials, earlier ones of the output folder included.")
@seed_option("Seed of the sampler and of every training.")
@protocol_option(None, f"Protocol whose validation metric is searched for. {DEFAULT_PROTOCOL}")
@option("--prune-after", type=int, metavar="EPOCHS", help="Stop trials below the median after so many epochs.")
@training_options
@patience_option
def command(
    *,
    method: str,
    data: DatasetChoice,
    output_dir: Path,
    search: Sequence[str],
    trials: int,
    seed: int,
    protocol: str | None,
    prune_after: int | None,
    settings: TrainingSettings,
    patience: int | None,
) -> None:
    """Search a recipe's settings on the validation split.

    An interrupted search continues.
    """
    training = settings.arguments()

    from cmr_hub.experiments.sweep import Dimension, sweep
    from cmr_hub.training.recipe import load_recipe

    space = [Dimension.parse(text) for text in search]
    dataset = data.load_with("train")
    recipe = load_recipe(method, data.dataset).for_columns(dataset["train"].column_names)
    recipe = recipe.changed(config=settings.config, training=training)
    if patience is not None:
        recipe = recipe.changed(early_stopping_patience=patience)
    found = sweep(
        recipe,
        dataset,
        data.dataset,
        output_dir,
        space,
        trials=trials,
        seed=seed,
        protocol=protocol,
        prune_after=prune_after,
        command=recorded_command(),
    )
    logging.info("%s\n\n%s", found.table(), found.recipe_section())
