"""`cmr ablate`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmr_hub.cli.command import recorded_command
from cmr_hub.cli.experiment import AblateExperiment, experiment_option
from cmr_hub.cli.options import (
    DEFAULT_PROTOCOL,
    DatasetChoice,
    TrainingSettings,
    dataset_options,
    encoder_options,
    json_option,
    method_option,
    output_dir_option,
    protocol_option,
    seeds_option,
    training_options,
    write_json,
)
from cmr_hub.cli.training_arguments import TrainingCommand
from cmr_hub.utils.processes import this_process

if TYPE_CHECKING:
    from cmr_hub.data.columns import Modality
    from cmr_hub.encoders.spec import GivenEncoder


@click.command("ablate", cls=TrainingCommand, shared=True)
@experiment_option(AblateExperiment)
@method_option
@dataset_options
@output_dir_option("Receives <table>/<row>/seed-<n>/.")
@seeds_option("Seeds; each row is trained once with each.")
@protocol_option(None, f"Protocol of the results and of the epoch's choice. {DEFAULT_PROTOCOL}")
@encoder_options
@training_options
@json_option()
def command(
    *,
    method: str,
    data: DatasetChoice,
    output_dir: Path,
    seeds: Sequence[int],
    protocol: str | None,
    encoders: Mapping[Modality, GivenEncoder],
    settings: TrainingSettings,
    json: Path | None,
) -> None:
    """Train and tabulate the variants that a recipe compares.

    Encoders and settings take the place of the recipe's, where a variant has none of its own.
    """
    training = settings.arguments()

    from cmr_hub.experiments.ablate import ablate
    from cmr_hub.results.markdown import ablation_markdown
    from cmr_hub.training.recipe import load_recipe

    tables = ablate(
        load_recipe(method, data.dataset).changed(encoders=encoders, config=settings.config, training=training),
        data.load(),
        data.dataset,
        output_dir,
        seeds=seeds,
        protocol=protocol,
        command=recorded_command(),
    )
    logging.info("%s", "\n\n".join(map(ablation_markdown, tables)))
    if json and this_process().is_main:
        write_json(json, [table.to_dict() for table in tables])
