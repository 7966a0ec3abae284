"""Experiments as YAML: what `cmr reproduce` and `cmr ablate` run. Options of the command line override the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from cmr_hub.experiments.encoder_choice import EncoderChoice

from .options import Decorator, option
from .types import PATH

SETTINGS = ("dataset_option", "config", "training")  # options of NAME=VALUE


class Experiment(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What experiments have in common. Each field stands for the option of its name.

    Attributes:
        dataset: name of the data set.
        dataset_option: options of its loader.
        seeds: random seeds.
        output_dir: folder that receives the checkpoints.
    """

    dataset: str
    dataset_option: dict[str, Any] = {}
    seeds: list[int] = []
    output_dir: str | None = None

    def options(self) -> dict[str, Any]:
        """Name of an option -> value, as click takes it, of those that are set."""
        given = msgspec.to_builtins(self)
        return {name: list(value.items()) if name in SETTINGS else value for name, value in given.items()}


class ReproduceExperiment(Experiment):
    """An experiment of `cmr reproduce`.

    Attributes:
        methods: methods, or "all".
        bits: code lengths of hashing methods.
        image_encoder, text_encoder: encoders instead of the recipes': a name, or a mapping of name and options.
        encoders: instead of these, several choices of encoders, each measured; `{}` is the recipes' own.
    """

    methods: list[str] = []
    bits: list[int] = []
    image_encoder: str | dict[str, Any] | None = None
    text_encoder: str | dict[str, Any] | None = None
    encoders: list[EncoderChoice] = []


class AblateExperiment(Experiment):
    """An experiment of `cmr ablate`.

    Attributes:
        method: the method whose recipe lists the variants.
        image_encoder, text_encoder: as of [`ReproduceExperiment`], where a variant names none.
        config, training: settings instead of the recipe's, where a variant has none.
        protocol: protocol of the results and of the epoch's choice.
        json: file that receives the results.
    """

    method: str
    image_encoder: str | dict[str, Any] | None = None
    text_encoder: str | dict[str, Any] | None = None
    config: dict[str, Any] = {}
    training: dict[str, Any] = {}
    protocol: str | None = None
    json: str | None = None


def experiment_option(structure: type[Experiment]) -> Decorator:
    """The option that reads an experiment; its values take the place of the options' defaults."""

    def read(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
        if path is not None:
            from cmr_hub.utils.decoding import decode
            from cmr_hub.utils.located_yaml import load_yaml

            defaults: Mapping[str, Any] = decode(structure, load_yaml(path)).options()
            ctx.default_map = {**(ctx.default_map or {}), **defaults}
        return path

    return option(
        "--experiment",
        type=PATH,
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=read,
        help="YAML file with values of the options below, which override it.",
    )
