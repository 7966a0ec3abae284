"""The `cmr` command: its commands, and how errors are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from cmr_hub import __version__
from cmr_hub.errors import CMRError, OtherProcessError

from .command import deprecate

SECTIONS = {
    "Train": ("train", "finetune", "answer", "sweep", "train-quantizer"),
    "Measure": ("evaluate", "table", "figure", "curves", "combined", "faithfulness", "word-pairs"),
    "Reproduce": ("reproduce", "ablate", "results"),
    "Search": ("index", "search", "serve", "prepare", "gallery", "map"),
    "Publish": ("publish", "checksums", "export-features"),
    "Set up": ("new-method", "completion"),
}
RENAMED = {"tune": "finetune", "spread": "train-quantizer", "ship": "export-features"}


class Application(click.Group):
    """A group that imports a command when it is asked for: `word-pairs` from commands/word_pairs.py."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in the order of the help."""
        return [name for names in SECTIONS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"{__package__}.commands.{cmd_name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that a command line names; old names still work."""
        name = args[0]
        if name in RENAMED:
            deprecate(f"cmr {name}", f"cmr {RENAMED[name]}")
            args = [RENAMED[name], *args[1:]]
        elif self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(name, possibilities=self.list_commands(ctx), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with what they do, by section."""
        widest = max(map(len, self.list_commands(ctx)))
        for title, names in SECTIONS.items():
            commands = [command for name in names if (command := self.get_command(ctx, name))]
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{command.name:<{widest}}", command.get_short_help_str(200)) for command in commands]
                )


@click.command(cls=Application, context_settings={"max_content_width": 100})
@click.version_option(__version__, message="%(version)s")
def application() -> None:
    """Train, measure, publish and search with methods of image-text cross-modal retrieval.

    `cmr COMMAND --help` describes a command. `cmr completion bash` sets up completion in a shell.
    """


def main(args: Sequence[str] | None = None, *, counts_seeds: bool = False) -> int:
    """Run one command.

    Args:
        args: the words after `cmr`; None: those that this process was started with.
        counts_seeds: whether `reproduce --seeds 3` means three seeds, as `python -m training` has it.

    Returns:
        The exit code: 1 after an error that a user can fix, which is one line on stderr; 2 after wrong options; 130
        after Ctrl-C.
    """
    # Read when torch is first imported. Threads that wait by spinning take the cores from whatever runs next to this.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        words = None if args is None else list(args)
        code = application.main(words, prog_name="cmr", standalone_mode=False, obj=counts_seeds)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OtherProcessError:
        return 1  # the other one says why
    except CMRError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        # A file that a user names and that cannot be read or written: others are CMRErrors.
        print(f"{type(error).__name__}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return code if isinstance(code, int) else 0
