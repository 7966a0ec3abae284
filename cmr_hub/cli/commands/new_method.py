"""`cmr new-method`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import option
from cmr_hub.cli.types import PATH


@click.command("new-method", cls=Command)
@click.argument("name")
@option("--package", type=PATH, metavar="DIR", help="Folder of a package of its own. By default this checkout.")
def command(*, name: str, package: Path | None) -> None:
    """Create the files of a new method.

    The method trains as it is. NAME is the name of its folder and its model_type.
    """
    from cmr_hub.experiments.new_method import new_method

    made = new_method(name, package)
    logging.info("%s", "\n".join(map(str, made.written)))
    if made.entry_point:
        logging.info("Add to pyproject.toml:\n%s", made.entry_point)
    elif package:
        logging.info("Install it: pip install --editable %s", package)
    logging.info("Train it: cmr train --method %s --dataset emoji --output-dir runs/%s", name, name)
