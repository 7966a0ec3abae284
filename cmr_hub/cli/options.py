"""Options that several commands have, each defined once: one name and one meaning everywhere."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .command import Option, print_json
from .training_arguments import given_training_arguments
from .types import (
    FILE,
    FOCUS,
    PATH,
    SEED,
    DatasetName,
    Encoder,
    EncoderChoices,
    MethodNames,
    MethodOrRecipe,
    ProtocolName,
    Setting,
    WholeNumber,
)

if TYPE_CHECKING:
    from datasets import DatasetDict

    from cmr_hub.data.columns import Modality
    from cmr_hub.encoders.spec import GivenEncoder
    from cmr_hub.experiments.encoder_choice import EncoderChoice

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Report = Callable[[str, float, str], None]


def option(*flags: str, **settings: Any) -> Decorator:
    """A [`Option`] of a command; its default is shown in the help."""
    return click.option(*flags, cls=Option, **{"show_default": True, **settings})


def settings(flag: str, help: str) -> Decorator:
    """An option of several `NAME=VALUE`, which the command receives as a dictionary."""
    return option(
        flag,
        several=True,
        type=Setting(),
        metavar="NAME=VALUE",
        callback=lambda ctx, param, pairs: dict(pairs),
        help=help,
    )


def option_group(parameter: str, make: Callable[..., Any], *options: Decorator) -> Decorator:
    """Several options that the command receives as one argument.

    Args:
        parameter: the argument.
        make: makes its value of the options' values, which are its parameters.
        options: the options.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(**values: Any) -> Any:
            own = {name: values.pop(name) for name in signature(make).parameters}
            return function(**values, **{parameter: make(**own)})

        decorated: Callable[..., Any] = call
        for add in reversed(options):
            decorated = add(decorated)
        return decorated

    return decorate


@dataclass(frozen=True)
class DatasetChoice:
    """A data set, where its files are, and how it is loaded.

    Attributes:
        dataset: its name.
        data_dir: where its files are; downloaded otherwise.
        dataset_option: options of its loader.
    """

    dataset: str
    data_dir: Path | None = None
    dataset_option: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> DatasetDict:
        """The splits."""
        from cmr_hub.data import load_dataset

        return load_dataset(self.dataset, self.data_dir, **self.dataset_option)

    def load_with(self, *splits: str) -> DatasetDict:
        """The splits, after a check that some of them exist.

        Raises:
            InputError: one does not.
        """
        from cmr_hub.data.base import check_splits

        dataset = self.load()
        check_splits(dataset, splits, self.dataset)
        return dataset


@dataclass(frozen=True)
class NamedDataset(DatasetChoice):
    """A data set that a run remembers by name.

    Attributes:
        name: what the data are called, as it was given.
    """

    name: str | None = None

    @property
    def folder(self) -> Path | None:
        """The folder that was given, wherever commands are run."""
        return None if self.data_dir is None else self.data_dir.expanduser().absolute()

    @property
    def title(self) -> str | None:
        """What the data are called: as it was given, or as their folder if they are somebody's own."""
        from cmr_hub.data import info

        is_own = not info(self.dataset).sizes
        return self.name or (self.folder.name if is_own and self.folder is not None else None)


DATA_DIR = option("--data-dir", type=PATH, metavar="DIR", help="Where its files are; downloaded otherwise.")

DATASET = (
    option(
        "--dataset", type=DatasetName(), required=True, metavar="NAME", help="Data set; also OWNER/NAME of the Hub."
    ),
    DATA_DIR,
    settings("--dataset-option", "Options of the data set's loader, such as complete_classes=true of pascal."),
)
dataset_options = option_group("data", DatasetChoice, *DATASET)
named_dataset_options = option_group(
    "data",
    NamedDataset,
    *DATASET,
    option(
        "--name",
        help="What the data are called in the record and in tables. By default the name of the data's folder, of your "
        "own data.",
    ),
)


def chosen_encoders(
    image_encoder: GivenEncoder | None, text_encoder: GivenEncoder | None
) -> dict[Modality, GivenEncoder]:
    """Modality -> encoder, of those that were given."""
    given: dict[Modality, GivenEncoder | None] = {"image": image_encoder, "text": text_encoder}
    return {modality: encoder for modality, encoder in given.items() if encoder}


ENCODER_OPTIONS = tuple(
    option(
        f"--{modality}-encoder",
        type=Encoder(modality),
        metavar="ENCODER",
        help=f"{modality.title()} encoder instead of the recipe's: a name ({name}), a folder or a repo id of the Hub "
        f"with a model ({model}), or YAML with options ({example}).",
    )
    for modality, name, model, example in (
        ("image", "vgg19", "facebook/dinov2-small", "'{name: efficientnet-lite2, grid: 7}'"),
        ("text", "minilm", "BAAI/bge-small-en-v1.5", "'{name: transformers, model: /my/bert}'"),
    )
)
encoder_options = option_group("encoders", chosen_encoders, *ENCODER_OPTIONS)


def encoder_choices(
    image_encoder: GivenEncoder | None, text_encoder: GivenEncoder | None, encoders: Sequence[EncoderChoice]
) -> list[EncoderChoice]:
    """The choices of encoders that methods are measured with.

    Raises:
        UsageError: encoders are given in both ways.
    """
    from cmr_hub.experiments.encoder_choice import EncoderChoice

    given: dict[str, Any] = {"image": image_encoder, "text": text_encoder}
    if not encoders:
        return [EncoderChoice(**given)]
    if any(given.values()):
        raise click.UsageError("Give --encoders, or --image-encoder and --text-encoder, not both.")
    return list(encoders)


encoder_choice_options = option_group(
    "choices",
    encoder_choices,
    *ENCODER_OPTIONS,
    option(
        "--encoders",
        several=True,
        type=EncoderChoices(),
        metavar="YAML",
        help="Several choices of encoders, each measured: '{}' is the recipes' own, '{text: glove}' another text "
        "encoder, '{text: glove, methods: [cca, dscmr]}' of these methods alone.",
    ),
)


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment within a block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _variable_option(flag: str, variable: str, choices: Sequence[str], help: str) -> Decorator:
    """An option that the command's processes find in their environment."""

    def set_variable(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.with_resource(environment(variable, value))

    return option(flag, type=click.Choice(choices), expose_value=False, callback=set_variable, help=help)


def backend_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What computes the encoders' networks."""
    for add in (
        _variable_option(
            *("--precision", "CMR_HUB_PRECISION", ("f32", "bf16")),
            help="Precision of the encoders' networks. By default $CMR_HUB_PRECISION, or f32.",
        ),
        _variable_option(
            *("--backend", "CMR_HUB_BACKEND", ("auto", "torch", "openvino", "onnx")),
            help="What computes the encoders' networks. By default $CMR_HUB_BACKEND, or auto: what is installed.",
        ),
    ):
        function = add(function)
    return function


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a method and its training, instead of the recipe's.

    Attributes:
        epochs: `num_train_epochs`; None: the recipe's.
        config: fields of the method's configuration.
        training: fields of TrainingArguments.
    """

    epochs: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, **shortcuts: Any) -> dict[str, Any]:
        """The fields of TrainingArguments that were given, in whatever way.

        Args:
            shortcuts: further fields that have an option of another name; None: not given.
        """
        shortcuts = {"num_train_epochs": self.epochs, **shortcuts}
        given = {name: value for name, value in shortcuts.items() if value is not None}
        return {**given, **self.training, **given_training_arguments()}


EPOCHS = option("--epochs", type=int, help="Epochs of training.")
CONFIG = settings("--config", "Fields of the method's configuration.")
TRAINING = settings(
    "--training", "Fields of transformers.TrainingArguments; each is an option too (--weight-decay 0.1)."
)

training_options = option_group("settings", TrainingSettings, EPOCHS, CONFIG, TRAINING)

method_option = option(
    "--method",
    type=MethodOrRecipe(),
    required=True,
    metavar="NAME|FILE",
    help="Method, or the YAML file of a recipe of your own.",
)
methods_option = option(
    "--methods", several=True, type=MethodNames(), default=("all",), metavar="NAME", help="Methods, or all."
)
checkpoint_option = option("--checkpoint", required=True, metavar="CHECKPOINT", help="Folder or repo id.")
split_option = option("--split", default="test", metavar="NAME", help="Split that is measured.")
resume_option = option(
    "--resume",
    is_flag=True,
    help="Continue an interrupted run in the output folder, and leave a finished one as it is.",
)
overwrite_option = option(
    "--overwrite-output-dir",
    "--overwrite",
    "overwrite_output_dir",
    is_flag=True,
    help="Train over what the output folder holds; with --resume, an interrupted run of the same training continues.",
)
patience_option = option(
    "--patience",
    type=WholeNumber(1),
    metavar="EPOCHS",
    help="Epochs without a better validation metric before training stops.",
)


def output_dir_option(help: str, *, required: bool = True, **settings: Any) -> Decorator:
    """The folder that a command writes."""
    return option("--output-dir", type=PATH, required=required, metavar="DIR", help=help, **settings)


def figure_option(help: str, *, required: bool = True) -> Decorator:
    """The image file that a command draws."""
    return option("--output", type=FILE, required=required, metavar="FILE", help=f"{help} (.png, .pdf or .svg).")


def json_option(help: str = "Also write the results here.") -> Decorator:
    """The JSON file that a command writes in addition to what it prints."""
    return option("--json", type=FILE, metavar="FILE", help=help)


def seed_option(help: str = "Random seed.", **settings: Any) -> Decorator:
    """One seed."""
    return option("--seed", type=SEED, help=help, **{"default": 0, **settings})


def seeds_option(help: str, default: Sequence[int] = (0,), **settings: Any) -> Decorator:
    """A list of seeds."""
    return option("--seeds", several=True, type=SEED, default=default, renamed_from=["--seed"], help=help, **settings)


def bits_option(help: str, default: Sequence[int] = ()) -> Decorator:
    """A list of code lengths."""
    return option("--bits", several=True, type=int, default=default, help=help)


DEFAULT_PROTOCOL = "By default dscmr, and without class labels instance, of codes instance-tie-aware."


def protocol_option(default: str | None, help: str) -> Decorator:
    """One protocol."""
    return option("--protocol", type=ProtocolName(), default=default, metavar="NAME", help=help)


def protocols_option(default: Sequence[str], help: str) -> Decorator:
    """A list of protocols."""
    return option(
        "--protocols",
        type=ProtocolName(),
        several=True,
        default=default,
        metavar="NAME",
        renamed_from=["--protocol"],
        help=help,
    )


def focus_option(help: str, *, several: bool = False) -> Decorator:
    """How queries weigh the two parts of embeddings, one way or several."""
    return option(
        "--focus",
        type=FOCUS,
        several=several,
        metavar="FOCUS",
        help=f"{help}, from 0 (the same kind of thing) to 1 (this very thing), of methods with a class part and an "
        "item part.",
    )


def print_progress(stage: str, fraction: float, message: str) -> None:
    """One line of progress for a person."""
    logging.info("%3.0f %%  %s: %s", 100 * fraction, stage, message)


progress_option = option_group(
    "report",
    lambda progress: print_json if progress == "json" else print_progress,
    option(
        "--progress",
        type=click.Choice(["log", "json"]),
        default="log",
        help="Report progress as lines of text or of JSON.",
    ),
)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    import json

    from cmr_hub.utils.files import atomic_file

    with atomic_file(path) as scratch:
        scratch.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
