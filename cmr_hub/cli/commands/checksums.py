"""`cmr checksums`."""

from __future__ import annotations

import logging
import shlex

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import option


@click.command("checksums", cls=Command)
@click.argument("folder")
@option("--write", is_flag=True, help="Renew the digests, after files were edited by hand.")
def command(*, folder: str, write: bool) -> None:
    """Compare the files of a checkpoint, gallery or index with the digests in its checksums.json."""
    from cmr_hub.errors import CheckpointError
    from cmr_hub.utils.checksums import CHECKSUMS_NAME, check, folders_inside, write_checksums
    from cmr_hub.utils.files import reading
    from cmr_hub.utils.hub import resolve

    path = resolve(folder)
    for each in (*folders_inside(path), path):
        if write:
            logging.info("%s: stored the digests of %d files.", each, len(write_checksums(each)))
        elif not (each / CHECKSUMS_NAME).exists():
            writing = f"cmr checksums {shlex.quote(folder)} --write"
            raise CheckpointError(f"{each} has no {CHECKSUMS_NAME}: `{writing}` makes it.")
        else:
            with reading(each):
                logging.info("%s: %d files are as they were saved.", each, len(check(each)))
