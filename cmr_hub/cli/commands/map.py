"""`cmr map`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import (
    DATA_DIR,
    Report,
    backend_options,
    option,
    progress_option,
)
from cmr_hub.cli.types import PATH, DatasetName
from cmr_hub.utils.extras import require


@click.command("map", cls=Command)
@option("--gallery", type=PATH, metavar="DIR", help="Gallery, which receives the map.")
@option("--dataset", type=DatasetName(), metavar="NAME", help="Data set, instead of a gallery.")
@option("--checkpoint", metavar="CHECKPOINT", help="Folder or repo id that embeds the data set.")
@DATA_DIR
@backend_options
@progress_option
def command(
    *, gallery: Path | None, dataset: str | None, checkpoint: str | None, data_dir: Path | None, report: Report
) -> None:
    """Lay a gallery out in the plane (t-SNE), for the Space's map."""
    if (gallery is None) == (dataset is None) or (dataset is None) != (checkpoint is None):
        raise click.UsageError("Give --dataset and --checkpoint together, or --gallery alone.")
    require("sklearn", "train", "cmr map")

    from cmr_hub.experiments.map import map_embedded, map_saved

    if dataset and checkpoint:
        logging.info("%s", map_embedded(dataset, checkpoint, data_dir, report=report))
    elif gallery:
        logging.info("%s", map_saved(gallery, report=report))
