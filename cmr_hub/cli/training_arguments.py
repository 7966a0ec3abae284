"""Every field of `transformers.TrainingArguments` as an option.

Names and simple types are read from the source of transformers, which need not be imported to refuse a wrong option.
HfArgumentParser parses the values when the command runs.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from .command import Command

FIELDS = "cmr_hub.cli.training_arguments"  # of a context's `meta`: flag -> its values
TRUTH_VALUES = ("yes", "true", "t", "y", "1", "no", "false", "f", "n", "0")  # as HfArgumentParser reads them


class TrainingCommand(Command):
    """A command that takes each field of TrainingArguments as an option, in addition to its own."""

    def click_words(self, ctx: click.Context, group: Sequence[str]) -> list[str]:
        """What click is to parse of a group: nothing of a field of TrainingArguments."""
        flag, values = group[0], group[1:]
        if not flag.startswith("--") or flag == "--" or flag in self.flags(ctx) or ctx.resilient_parsing:
            return super().click_words(ctx, group)
        types = field_types()
        if flag not in types:
            raise click.NoSuchOption(flag, possibilities=[*self.flags(ctx), *self.further_flags(ctx)], ctx=ctx)
        check_values(flag, values, types[flag], ctx)
        ctx.meta.setdefault(FIELDS, {})[flag] = list(values)
        return []

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem[Any]]:
        """Options that go on from what was typed, fields of TrainingArguments after the command's own."""
        from click.shell_completion import CompletionItem

        own = super().shell_complete(ctx, incomplete)
        if not incomplete.startswith("--"):
            return own
        return own + [CompletionItem(flag) for flag in self.further_flags(ctx) if flag.startswith(incomplete)]

    def further_flags(self, ctx: click.Context) -> list[str]:
        """The flags that only TrainingArguments has."""
        own = {*self.flags(ctx), *self.renamed(ctx)}
        return [flag for flag in field_types() if flag not in own]


@cache
def field_types() -> Mapping[str, str]:
    """Flag of each field of TrainingArguments -> its annotation without None; "switch" of a `--no-…` flag."""
    spec = find_spec("transformers")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        return {}
    tree = ast.parse((Path(folders[0]) / "training_args.py").read_text(encoding="utf-8"))
    (definition,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments"]
    types = {}
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            kinds = [kind for kind in ast.unparse(node.annotation).split(" | ") if kind != "None"]
            name = node.target.id.replace("_", "-")
            types[f"--{name}"] = " | ".join(kinds)
            if kinds == ["bool"]:
                types[f"--no-{name}"] = "switch"
    return types


def check_values(flag: str, values: Sequence[str], kind: str, ctx: click.Context) -> None:
    """Refuse values of simple types before anything is imported.

    Raises:
        click.UsageError: there are too many or too few values, or one is of another type.
    """
    if kind == "switch" and values:
        raise click.BadOptionUsage(flag, f"Option {flag!r} does not take a value.", ctx=ctx)
    if kind not in ("switch", "bool") and not values:
        raise click.BadOptionUsage(flag, f"Option {flag!r} requires an argument.", ctx=ctx)
    if kind in ("int", "float", "bool") and len(values) > 1:
        raise click.BadOptionUsage(flag, f"Option {flag!r} takes one value, not {' '.join(values)}.", ctx=ctx)
    for value in values:
        if not is_of_type(value, kind):
            raise click.BadParameter(f"{value!r} is not of type {kind}.", ctx=ctx, param_hint=repr(flag))


def is_of_type(value: str, kind: str) -> bool:
    """Whether a word can be read as a type; of types that are not simple, always."""
    if kind == "bool":
        return value.lower() in TRUTH_VALUES
    simple = {"int": int, "float": float}.get(kind, str)
    try:
        simple(value)
    except ValueError:
        return False
    return True


def given_training_arguments() -> dict[str, Any]:
    """The fields of TrainingArguments that were given as options, as HfArgumentParser reads them.

    Raises:
        click.UsageError: HfArgumentParser refuses a value.
    """
    ctx = click.get_current_context()
    given: Mapping[str, list[str]] = ctx.meta.get(FIELDS, {})
    if not given:
        return {}
    from transformers import HfArgumentParser, TrainingArguments

    parser = HfArgumentParser([TrainingArguments], exit_on_error=False)  # type: ignore[list-item]
    try:
        parsed, _ = parser.parse_known_args([word for flag, values in given.items() for word in (flag, *values)])
    except argparse.ArgumentError as error:
        raise click.UsageError(f"TrainingArguments: {error}", ctx=ctx) from error
    types = field_types()
    names = [flag.removeprefix("--no-" if types[flag] == "switch" else "--").replace("-", "_") for flag in given]
    return {name: getattr(parsed, name) for name in names}
