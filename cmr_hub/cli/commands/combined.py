"""`cmr combined`."""

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
    focus_option,
    json_option,
    option,
    split_option,
    write_json,
)
from cmr_hub.cli.types import PATH


@click.command("combined", cls=Command)
@checkpoint_option
@dataset_options
@split_option
@option(
    "--attributes",
    type=PATH,
    metavar="FILE",
    help="YAML file of protocols and attributes, instead of those of the data set.",
)
@focus_option("How queries weigh embeddings")
@backend_options
@json_option()
def command(
    *,
    checkpoint: str,
    data: DatasetChoice,
    split: str,
    attributes: Path | None,
    focus: float | None,
    json: Path | None,
) -> None:
    """Measure queries of an image and words together.

    The image shows what kind of thing is wanted, the words say what about it. Either alone is measured too.
    """
    from cmr_hub.experiments.combined import compare_queries, default_attributes, read_attributes
    from cmr_hub.retrieval.retriever import Retriever

    asked = read_attributes(attributes) if attributes else default_attributes(data.dataset)
    dataset = data.load_with(split, "validation")
    tables = compare_queries(Retriever.from_pretrained(checkpoint), dataset, asked, split=split, focus=focus)
    for table in tables:
        logging.info("%s\n", table)
    if json:
        write_json(json, [table.to_dict() for table in tables])
