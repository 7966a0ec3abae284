"""`cmr index`."""

from __future__ import annotations

import shlex
import signal
import time
from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import backend_options, option, output_dir_option
from cmr_hub.cli.photo_folders import describe_outcome, describe_passed_over, indexed
from cmr_hub.cli.types import PATH


@click.command("index", cls=Command)
@click.argument("folder", type=PATH)
@option(
    "--checkpoint",
    metavar="CHECKPOINT",
    help="Folder or repo id; by default that of the index, or cmr/unified-flickr8k.",
)
@output_dir_option("Where the index is stored; by default in the cache, by the folder's path.", required=False)
@option("--keep-missing", is_flag=True, help="Keep images in the index that are no longer in the folder.")
@option("--rebuild", is_flag=True, help="Remove the index that is there, and embed all images anew.")
@backend_options
def command(
    *, folder: Path, checkpoint: str | None, output_dir: Path | None, keep_missing: bool, rebuild: bool
) -> None:
    """Index a folder of photos, so that `cmr search` finds them by words.

    Images stay where they are. Run again, it embeds those that are new or have changed, and drops those that are
    gone. An interrupted run continues.
    """
    # Whoever ends a long job politely finds what was embedded, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    start = time.monotonic()
    photos, index, outcome = indexed(
        folder, checkpoint=checkpoint, output_dir=output_dir, keep_missing=keep_missing, rebuild=rebuild
    )
    for line in (*describe_outcome(photos, outcome), *describe_passed_over(photos)):
        click.echo(line)
    where = f" --gallery {shlex.quote(str(index))}" if output_dir else f" --folder {shlex.quote(str(photos.folder))}"
    click.echo(f"Done in {time.monotonic() - start:.1f} s.")
    click.echo(f'Search it: cmr search "words"{where}')
