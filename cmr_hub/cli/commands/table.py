"""`cmr table`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import json_option, option, protocols_option, split_option, write_json
from cmr_hub.cli.types import FILE, PATH


@click.command("table", cls=Command)
@click.argument("runs", type=PATH, nargs=-1, required=True, metavar="RUN...")
@protocols_option([], "Columns; the first gives the order. By default all that were measured.")
@split_option
@option("--output", type=FILE, metavar="FILE", help="Also write the Markdown here.")
@json_option("Also write the figures here.")
def command(
    *, runs: Sequence[Path], protocols: Sequence[str], split: str, output: Path | None, json: Path | None
) -> None:
    """Tabulate finished runs: mean and deviation over seeds.

    RUN is a checkpoint, or a folder that holds some.
    """
    from cmr_hub.experiments.table import find_checkpoints, make_tables
    from cmr_hub.results.markdown import table_markdown
    from cmr_hub.utils.files import atomic_file

    tables = make_tables(find_checkpoints(runs), protocols or None, split)
    markdown = "\n".join(map(table_markdown, tables))
    logging.info("%s", markdown)
    if output:
        with atomic_file(output) as scratch:
            scratch.write_text(f"# Results\n\nMade by `cmr table`.\n\n{markdown}", encoding="utf-8")
    if json:
        write_json(json, [table.to_dict() for table in tables])
