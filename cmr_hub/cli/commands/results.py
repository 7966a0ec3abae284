"""`cmr results`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import output_dir_option


@click.command("results", cls=Command, requires={"matplotlib": "train"})
@output_dir_option("Receives RESULTS.md and docs/results/.", required=False, default=Path(), renamed_from=["--folder"])
def command(*, output_dir: Path) -> None:
    """Write the page of results and its plots from the stored results."""
    from cmr_hub.results.page import write_results_page

    logging.info("%s", write_results_page(output_dir))
