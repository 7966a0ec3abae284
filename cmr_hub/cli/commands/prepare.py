"""`cmr prepare`."""

from __future__ import annotations

from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import DATA_DIR, Report, progress_option
from cmr_hub.cli.types import DatasetName


@click.command("prepare", cls=Command, requires={"sklearn": "train"})
@click.argument("dataset", type=DatasetName())
@DATA_DIR
@progress_option
def command(*, dataset: str, data_dir: Path | None, report: Report) -> None:
    """Download a data set, train on it and build its galleries."""
    from cmr_hub.experiments.prepare import prepare

    prepare(dataset, data_dir, report=report)
