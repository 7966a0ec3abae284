"""`cmr faithfulness`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import (
    DatasetChoice,
    backend_options,
    checkpoint_option,
    dataset_options,
    json_option,
    option,
    seed_option,
    split_option,
    write_json,
)


@click.command("faithfulness", cls=Command)
@checkpoint_option
@dataset_options
@split_option
@option(
    "--by",
    type=click.Choice(["pixels", "features"]),
    default="pixels",
    help="What is replaced by its mean: a region's cell of the image, which is encoded again, or its features.",
)
@backend_options
@seed_option("Seed of the random regions and of the bootstrap.")
@json_option("Also write the figures here.")
def command(*, checkpoint: str, data: DatasetChoice, split: str, by: str, seed: int, json: Path | None) -> None:
    """Delete the regions that a checkpoint attends to, and measure by how much its scores fall."""
    from cmr_hub.experiments.faithfulness import measure_faithfulness
    from cmr_hub.retrieval.retriever import Retriever

    retriever = Retriever.from_pretrained(checkpoint)
    dataset = data.load_with(split)
    measured = measure_faithfulness(retriever, dataset[split], by=by, seed=seed, show_progress=True)
    logging.info("%s", measured.table())
    if json:
        what = {"checkpoint": retriever.name, "dataset": data.dataset, "split": split}
        write_json(json, {**what, **measured.to_dict()})
