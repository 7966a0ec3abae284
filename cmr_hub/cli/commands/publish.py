"""`cmr publish`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import option, output_dir_option
from cmr_hub.cli.types import PATH


@click.command("publish", cls=Command)
@option("--checkpoint", type=PATH, required=True, metavar="DIR", help="Folder of a checkpoint that `cmr train` made.")
@option("--repo-id", required=True, metavar="OWNER/NAME", help="Repository on the Hub.")
@output_dir_option("Receives the finished repository, instead of the Hub.", required=False)
@option("--private", is_flag=True, help="Make the repository private.")
@option("--license", metavar="ID", help="Licence of the weights (apache-2.0, cc-by-4.0 …); needed with own data.")
@option("--data-title", default="", metavar="TEXT", help="What own data are called.")
@option("--data-license", default="", metavar="TEXT", help="Licence of own data, in words.")
@option("--data-url", default="", metavar="URL", help="Page of own data.")
def command(
    *,
    checkpoint: Path,
    repo_id: str,
    output_dir: Path | None,
    private: bool,
    license: str | None,
    data_title: str,
    data_license: str,
    data_url: str,
) -> None:
    """Write a checkpoint's card and publish it on the Hub."""
    from cmr_hub.experiments.publish import Terms, publish

    terms = Terms(license, data_title, data_license, data_url)
    where = publish(checkpoint, repo_id, output_dir=output_dir, private=private, terms=terms)
    if output_dir is None:
        logging.info("Published: %s", where)
    else:
        logging.info(
            "Written to %s. Read its README.md; without --output-dir it goes to the Hub as %s.", where, repo_id
        )
