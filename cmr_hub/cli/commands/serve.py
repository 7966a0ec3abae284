"""`cmr serve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import option
from cmr_hub.cli.photo_folders import describe_outcome, indexed
from cmr_hub.cli.types import PATH, DatasetName
from cmr_hub.utils.server_environment import prepare_environment


class Serve(Command):
    """The command, which needs other libraries for programs than for people."""

    def requires_for(self, options: Mapping[str, Any]) -> Mapping[str, str]:
        """See [`Command.requires_for`]."""
        return {"prometheus_client": "api"} if options["api"] else self.requires


@click.command("serve", cls=Serve, requires={"gradio": "space"})
@click.argument("folder", required=False, type=PATH)
@option(
    "--gallery", several=True, type=PATH, metavar="DIR", help="Saved galleries to serve first, as `cmr gallery` makes."
)
@option(
    "--checkpoint",
    several=True,
    metavar="DIR_OR_ID",
    help="Checkpoints of yours: they embed own galleries, and search the data set that they were trained on.",
)
@option(
    "--prepare",
    several=True,
    type=DatasetName(),
    metavar="NAME",
    help="Data sets to prepare in the background, once it serves.",
)
@option("--host", metavar="NAME", help="Address to listen at; 0.0.0.0 for other machines too.")
@option("--port", type=click.IntRange(0, 65535), metavar="PORT", help="Port; otherwise the first free one from 7860.")
@option("--open", "opens", is_flag=True, help="Open it in the browser.")
@option(
    "--api", is_flag=True, help="Serve the galleries to programs instead: typed HTTP endpoints, described at /docs."
)
def command(
    *,
    folder: Path | None,
    gallery: Sequence[Path],
    checkpoint: Sequence[str],
    prepare: Sequence[str],
    host: str | None,
    port: int | None,
    opens: bool,
    api: bool,
) -> None:
    """Serve the Space: search in the browser, and over an API.

    FOLDER is a folder of photos, which is indexed first, as `cmr index` does, and served first.

    `GRADIO_SERVER_NAME` and `GRADIO_SERVER_PORT` give host and port where the options do not.
    """
    prepare_environment()
    if api and (checkpoint or prepare or opens):
        raise click.UsageError("--api serves galleries alone: leave out --checkpoint, --prepare and --open.")
    photos = {}
    if folder is not None:
        found, index, outcome = indexed(folder)
        for line in describe_outcome(found, outcome):
            click.echo(line)
        photos[index] = found.folder
    if api:
        from cmr_hub.api.server import PORT, serve_api

        serve_api(gallery, photos, host or "127.0.0.1", PORT if port is None else port)
        return
    from cmr_hub.space import build_app, launch
    from cmr_hub.space.services.catalogue import Catalogue
    from cmr_hub.space.services.preparation import names_to_prepare

    catalogue = Catalogue(folders=gallery, checkpoints=checkpoint, photos=photos)
    launch(
        build_app(catalogue, prepare=prepare or names_to_prepare()),
        server_name=host,
        server_port=port,
        inbrowser=opens,
    )
