"""Types of option values."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.utils.registry import Registry

if TYPE_CHECKING:
    from cmr_hub.experiments.encoder_choice import EncoderChoice

PATH = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)  # that is written
RECIPE_SUFFIXES = (".yaml", ".yml")
AUTO = "auto"
EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


class WholeNumber(click.IntRange):
    """A whole number within limits."""

    name = "integer"


SEED = WholeNumber(0, 2**32 - 1)  # as numpy takes them
FOCUS = click.FloatRange(0, 1)


class Name(click.ParamType, ABC):
    """A name from a registry. It is checked, without importing what it stands for, before the command runs."""

    name = "name"

    @abstractmethod
    def known(self) -> tuple[str, Collection[str]]:
        """What the names stand for, and the names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The registered name, where another spelling of it is given."""
        names = self.known()[1]
        return names.resolve(value) if isinstance(names, Registry) else value

    def check(self, given: Any) -> None:
        """Raise UnknownNameError for a name that is not registered."""
        kind, names = self.known()
        if given not in names:
            raise UnknownNameError(kind, given, names)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem[str]]:
        """The names that go on from what was typed."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in sorted(self.known()[1]) if name.startswith(incomplete)]


class MethodName(Name):
    """A method's name."""

    def known(self) -> tuple[str, Collection[str]]:
        from cmr_hub.methods import METHODS

        return "method", METHODS


class MethodOrRecipe(MethodName):
    """A method's name, or the path of a recipe, which names its method."""

    def check(self, given: Any) -> None:
        """Raise UnknownNameError for a name that is not registered, InputError for a file that does not exist."""
        if not given.endswith(RECIPE_SUFFIXES):
            super().check(given)
        elif not Path(given).is_file():
            raise InputError(f"There is no recipe {given}.")


class MethodRecipeOrAuto(MethodOrRecipe):
    """A method's name, the path of a recipe, or "auto"."""

    def known(self) -> tuple[str, Collection[str]]:
        kind, names = super().known()
        return kind, [AUTO, *names]


class MethodNames(MethodName):
    """A method's name, or "all"."""

    def known(self) -> tuple[str, Collection[str]]:
        kind, names = super().known()
        return kind, ["all", *names]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The registered name, where another spelling of it is given; "all" is none."""
        return MethodName().convert(value, param, ctx)


class DatasetName(Name):
    """A data set's name, or a repo id of the Hub."""

    def check(self, given: Any) -> None:
        """Raise UnknownNameError for a name that is not registered and no repo id."""
        from cmr_hub.data import is_repo_id

        if not is_repo_id(given):
            super().check(given)

    def known(self) -> tuple[str, Collection[str]]:
        from cmr_hub.data import DATASETS

        return "data set", DATASETS


class ProtocolName(Name):
    """A protocol's name, with or without changes: "dscmr", "dscmr(focus=0)"."""

    def known(self) -> tuple[str, Collection[str]]:
        from cmr_hub.evaluation import list_protocols

        return "protocol", list_protocols()

    def check(self, given: Any) -> None:
        """Raise UnknownNameError for a name that is not registered, InputError for changes that it cannot have."""
        from cmr_hub.evaluation import get_protocol

        get_protocol(given)


class Setting(click.ParamType):
    """`NAME=VALUE`, where the value is YAML, as a pair of both."""

    name = "setting"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        import yaml

        from cmr_hub.utils.located_yaml import YAML_ERRORS

        if isinstance(value, tuple):  # read from an experiment's file
            return value[0], value[1]
        name, equals, text = value.partition("=")
        if not equals or not name:
            self.fail(f"write settings as NAME=VALUE, not {value!r}.", param, ctx)
        if EXPONENT.fullmatch(text):  # which YAML reads as text where it has no point
            return name, float(text)
        try:
            return name, yaml.safe_load(text)
        except YAML_ERRORS as error:
            self.fail(f"{text!r}, the value of {name}, is no YAML: {error}.", param, ctx)


class EncoderChoices(click.ParamType):
    """YAML with encoders instead of the recipes', and the methods that are measured with them."""

    name = "encoders"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> EncoderChoice:
        """The choice, every name in it checked.

        Raises:
            UnknownNameError: there is no such encoder or method.
            InputError: another field, or a value of another type.
        """
        import yaml

        from cmr_hub.encoders import resolve_encoder
        from cmr_hub.experiments.encoder_choice import EncoderChoice
        from cmr_hub.utils.decoding import decode
        from cmr_hub.utils.located_yaml import YAML_ERRORS

        try:
            given = yaml.safe_load(value) if isinstance(value, str) else value
        except YAML_ERRORS as error:
            self.fail(f"{value!r} is no YAML: {error}.", param, ctx)
        if not isinstance(given, dict):
            self.fail(f"write a mapping such as {{text: glove}}, not {value!r}.", param, ctx)
        choice = decode(EncoderChoice, given, "encoders")
        resolved = {modality: resolve_encoder(modality, spec).to_dict() for modality, spec in choice.encoders.items()}
        methods = [MethodName().convert(method, param, ctx) for method in choice.methods]
        for method in methods:
            MethodName().check(method)
        return msgspec.structs.replace(choice, **resolved, methods=methods)


class Encoder(Name):
    """An encoder's name, or YAML with its name and options; a folder or a repo of the Hub with a model."""

    name = "encoder"

    def __init__(self, modality: str):
        self.modality = modality

    def known(self) -> tuple[str, Collection[str]]:
        from cmr_hub.encoders import ENCODERS

        return f"{self.modality} encoder", ENCODERS[self.modality]

    def check(self, given: Any) -> None:
        """Nothing: reading the value has found the encoder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | dict[str, Any]:
        """The encoder by its registered name.

        Raises:
            UnknownNameError: there is no such encoder.
            InputError: a family of encoders without a model.
        """
        import yaml

        from cmr_hub.encoders import resolve_encoder
        from cmr_hub.utils.located_yaml import YAML_ERRORS

        try:
            encoder = yaml.safe_load(value) if isinstance(value, str) else value
        except YAML_ERRORS as error:
            self.fail(f"{value!r} is no YAML: {error}.", param, ctx)
        if not isinstance(encoder, str | dict):
            self.fail(f"write an encoder's name, or a mapping of its name and options, not {value!r}.", param, ctx)
        if isinstance(encoder, dict) and "name" not in encoder:
            self.fail(f"{value!r} has no name.", param, ctx)
        return resolve_encoder(self.modality, encoder).to_dict()
