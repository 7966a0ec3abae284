"""Reading command lines as the `cmr` command does, without running them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cmr_hub.cli.main import application


def parse(words: Sequence[str], *, counts_seeds: bool = False) -> click.Context:
    """The context of the command that a command line names, with the values of its options.

    Raises:
        click.UsageError: the command line is wrong.
    """
    root = click.Context(application, info_name="cmr", obj=counts_seeds)
    name, command, rest = application.resolve_command(root, list(words))
    assert command is not None
    return command.make_context(name, rest, parent=root)
