"""`cmr completion`."""

from __future__ import annotations

import click

from cmr_hub.cli.command import Command

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
def command(*, shell: str) -> None:
    """Print a script that completes commands, options and names in a shell.

    \b
    bash: cmr completion bash >> ~/.bashrc
    zsh:  cmr completion zsh >> ~/.zshrc
    fish: cmr completion fish > ~/.config/fish/completions/cmr.fish
    """  # noqa: D301 - click looks for the character \b
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    root = click.get_current_context().find_root()
    if complete is not None:
        click.echo(complete(root.command, {}, "cmr", "_CMR_COMPLETE").source())
