"""What all commands share: options of several values, renamed options, checks, and the recorded command."""

from __future__ import annotations

import json
import logging
import shlex
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from cmr_hub.errors import CMRError, InputError
from cmr_hub.utils.extras import require
from cmr_hub.utils.import_hooks import when_imported
from cmr_hub.utils.processes import this_process

from .types import Name

WORDS = "cmr_hub.cli.words"  # of a context's `meta`: the command line with today's names


class Option(click.Option):
    """An option of a command.

    Args:
        flags: its name, and other ones.
        several: takes one or more values after one flag (`--seeds 0 1 2`).
        renamed_from: names that it had before; they still work, and say what to write instead.
        settings: what click.Option takes.
    """

    def __init__(
        self, flags: Sequence[str], *, several: bool = False, renamed_from: Sequence[str] = (), **settings: Any
    ):
        super().__init__(flags, **{"multiple": several, **settings})
        self.renamed_from = renamed_from

    def make_metavar(self, ctx: click.Context) -> str:
        """The placeholder of the value in the help."""
        return super().make_metavar(ctx) + ("..." if self.multiple else "")


class Command(click.Command):
    """A command of `cmr`.

    Args:
        shared: whether several processes (`accelerate launch`) do it together.
        requires: optional library -> the extra that installs it.
    """

    def __init__(self, *args: Any, shared: bool = False, requires: Mapping[str, str] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.shared, self.requires = shared, dict(requires or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Bring the words into the form that click parses: one value per flag, today's names."""
        groups = self.read_words(ctx, args)
        ctx.meta[WORDS] = [self.name or "", *(word for group in groups for word in group)]
        return super().parse_args(ctx, [word for group in groups for word in self.click_words(ctx, group)])

    def read_words(self, ctx: click.Context, args: Sequence[str]) -> list[list[str]]:
        """Split a command line into groups: a flag with its values, or one word."""
        flags, renamed = self.flags(ctx), self.renamed(ctx)
        words, groups = deque(args), list[list[str]]()
        while words:
            word = words.popleft()
            if word == "--":
                return [*groups, [word, *words]]
            if not word.startswith("--"):
                groups.append([word])
                continue
            flag, equals, value = word.partition("=")
            flag = flag.replace("_", "-")
            if flag in renamed:
                if not ctx.resilient_parsing:
                    deprecate(flag, renamed[flag])
                flag = renamed[flag]
            option = flags.get(flag)
            if option is not None and option.is_flag:
                groups.append([flag + equals + value])
                continue
            group = [flag, value] if equals else [flag]
            if option is None or option.multiple:
                while words and not is_flag(words[0]):
                    group.append(words.popleft())
            elif not equals and words:
                group.append(words.popleft())
            groups.append(group)
        return groups

    def flags(self, ctx: click.Context) -> dict[str, click.Option]:
        """Each flag of an option, such as `--seeds`."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        return {flag: option for option in options for flag in (*option.opts, *option.secondary_opts)}

    def renamed(self, ctx: click.Context) -> dict[str, str]:
        """Old flag -> the flag that it is now."""
        return {old: flag for flag, option in self.flags(ctx).items() for old in getattr(option, "renamed_from", ())}

    def click_words(self, ctx: click.Context, group: Sequence[str]) -> list[str]:
        """What click is to parse of a group: `--seeds 0 --seeds 1` of `--seeds 0 1`."""
        option = self.flags(ctx).get(group[0])
        if option is None or not option.multiple:
            return list(group)
        if len(group) < 2:
            if ctx.resilient_parsing:
                return list(group)
            raise click.BadOptionUsage(group[0], f"Option {group[0]!r} requires an argument.", ctx=ctx)
        return [word for value in group[1:] for word in (group[0], value)]

    def invoke(self, ctx: click.Context) -> Any:
        """Check names, processes and optional libraries, then run."""
        try:
            self.check(ctx)
            set_up_logging(is_main=this_process().is_main)
            return super().invoke(ctx)
        except CMRError as error:
            if ctx.params.get("progress") != "json":
                raise
            print_json("error", 0.0, str(error))
            ctx.exit(1)
        except KeyboardInterrupt:
            again = "Run the same command again to continue; a training also needs --resume."
            click.echo(f"Interrupted. What is complete is saved. {again}", err=True)
            ctx.exit(130)

    def check(self, ctx: click.Context) -> None:
        """Refuse what cannot be done before anything heavy is imported."""
        for param in self.params:
            if isinstance(param.type, Name) and param.name is not None:
                given = ctx.params[param.name]
                for name in given if isinstance(given, tuple) else [given] if given is not None else []:
                    param.type.check(name)
        if not (self.shared or this_process().is_alone):
            raise InputError(f"{self.name!r} is work for one process; several do {shared_commands(ctx)} together.")
        for package, extra in self.requires_for(ctx.params).items():
            require(package, extra, f"cmr {self.name}")

    def requires_for(self, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Optional library -> the extra that installs it, of what these options ask for."""
        return self.requires


def shared_commands(ctx: click.Context) -> str:
    """The names of the commands that several processes do together."""
    group = ctx.find_root().command
    if not isinstance(group, click.Group):
        return "none"
    commands = [group.get_command(ctx, name) for name in group.list_commands(ctx)]
    return ", ".join(str(command.name) for command in commands if isinstance(command, Command) and command.shared)


def is_flag(word: str) -> bool:
    """Whether a word is a flag, and not a value such as -1."""
    if not word.startswith("-"):
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False


def deprecate(old: str, new: str) -> None:
    """Say that a name has changed."""
    click.echo(f"{old} is deprecated, use {new}.", err=True)


def recorded_command() -> str:
    """The command line as anyone would type it: without `--data-dir`, which only this machine has."""
    words = list(click.get_current_context().meta[WORDS])
    while "--data-dir" in words:
        at = words.index("--data-dir")
        del words[at : at + 2]
    return "cmr " + shlex.join(words)


def set_up_logging(*, is_main: bool) -> None:
    """Log lines as they are, those of the main process alone."""
    logging.basicConfig(level=logging.INFO if is_main else logging.ERROR, format="%(message)s")
    for chatty in ("httpx", "httpx2", "datasets", "gensim"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Bars of the weights that are loaded or saved, once per epoch. Those of downloads are huggingface_hub's.
    when_imported("transformers.utils.logging", lambda module: module.set_tqdm_hook(_hidden_bar))


def _hidden_bar(factory: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return factory(*args, **{**options, "disable": True})


def print_json(stage: str, fraction: float, message: str) -> None:
    """One line of progress for a program; see `cmr_hub.space.services.preparation`."""
    print(json.dumps({"stage": stage, "fraction": round(fraction, 4), "message": message}), flush=True)
