"""`cmr export-features`."""

from __future__ import annotations

import logging

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import option
from cmr_hub.cli.types import DatasetName


@click.command("export-features", cls=Command)
@option("--dataset", type=DatasetName(), default="emoji", metavar="NAME", help="Data set.")
@option("--image-encoder", default="efficientnet-lite0", metavar="NAME", help="Image encoder.")
def command(*, dataset: str, image_encoder: str) -> None:
    """Make the features that come with the package (maintainers)."""
    from cmr_hub.experiments.export_features import export_features

    logging.info("%s", export_features(dataset, image_encoder))
