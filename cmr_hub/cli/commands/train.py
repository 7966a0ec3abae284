"""`cmr train`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmr_hub.cli.command import recorded_command
from cmr_hub.cli.options import (
    DEFAULT_PROTOCOL,
    NamedDataset,
    TrainingSettings,
    backend_options,
    bits_option,
    encoder_options,
    named_dataset_options,
    option,
    output_dir_option,
    overwrite_option,
    patience_option,
    protocols_option,
    resume_option,
    seeds_option,
    training_options,
)
from cmr_hub.cli.training_arguments import TrainingCommand
from cmr_hub.cli.types import AUTO, MethodRecipeOrAuto

if TYPE_CHECKING:
    from cmr_hub.data.columns import Modality
    from cmr_hub.encoders.spec import GivenEncoder
    from cmr_hub.training.run import TrainingRun


@click.command("train", cls=TrainingCommand, shared=True)
@option(
    "--method",
    type=MethodRecipeOrAuto(),
    required=True,
    metavar="NAME|FILE|auto",
    help="Method, or the YAML file of a recipe of your own; auto compares quick ones on validation data.",
)
@named_dataset_options
@output_dir_option("Receives the checkpoint; of several, [<n>-bits/][seed-<n>/].")
@seeds_option("Seeds; several train one checkpoint each.")
@bits_option("Code lengths of a hashing method; several train one checkpoint each.")
@protocols_option([], f"Protocols of the results; the first also chooses the epoch. {DEFAULT_PROTOCOL}")
@encoder_options
@option(
    "--captions",
    type=click.Choice(["set", "each"]),
    help="An item's captions as one text, or each by itself. By default the recipe's.",
)
@training_options
@option("--batch-size", type=int, help="Training pairs per step and device.")
@option("--learning-rate", type=float, help="Initial learning rate.")
@backend_options
@patience_option
@option(
    "--hold-out",
    type=click.FloatRange(0, 0.5),
    metavar="SHARE",
    help="Share of the training split on which the epoch is chosen where the data set has no validation split, by "
    "default 0.1; 0: all of it is learned from, and the last epoch is kept. Closed forms, which have no epochs, hold "
    "nothing out by default.",
)
@option(
    "--train-rows",
    type=click.IntRange(min=1),
    metavar="N",
    help="Learn from so many pairs of the training split, drawn by a hash of ids. By default the recipe's or all.",
)
@option("--half", is_flag=True, help="Store the weights in half precision.")
@resume_option
@overwrite_option
def command(
    *,
    method: str,
    data: NamedDataset,
    output_dir: Path,
    seeds: Sequence[int],
    bits: Sequence[int],
    protocols: Sequence[str],
    encoders: Mapping[Modality, GivenEncoder],
    captions: str | None,
    settings: TrainingSettings,
    batch_size: int | None,
    learning_rate: float | None,
    patience: int | None,
    hold_out: float | None,
    train_rows: int | None,
    half: bool,
    resume: bool,
    overwrite_output_dir: bool,
) -> None:
    """Train a method on a data set by its recipe.

    Each field of transformers.TrainingArguments is an option too, such as --weight-decay 0.1.
    """
    training = settings.arguments(per_device_train_batch_size=batch_size, learning_rate=learning_rate)

    from cmr_hub.data.labels import is_labelled
    from cmr_hub.evaluation import get_protocol
    from cmr_hub.experiments.choose import candidates, described, protocols_to_compare_by
    from cmr_hub.experiments.seeds import summarise
    from cmr_hub.experiments.table import find_checkpoints, make_tables
    from cmr_hub.methods import METHODS
    from cmr_hub.results.markdown import table_markdown
    from cmr_hub.training.recipe import load_recipe
    from cmr_hub.training.run import refuse_finished_run
    from cmr_hub.training.train import check_protocols, make_features, train
    from cmr_hub.utils.files import check_may_be_folder

    dataset = data.load_with("train")
    if method == AUTO:
        compared_by = [get_protocol(name) for name in protocols] or protocols_to_compare_by(dataset)
        found = candidates(
            dataset, data.dataset, compared_by, encoders, seed=seeds[0], held_out=hold_out, data_name=data.title
        )
        logging.info("%s", described(found, compared_by))
        recipe, protocols = found[0].recipe, protocols or [protocol.name for protocol in compared_by]
    else:
        recipe = load_recipe(method, data.dataset)
        if method in METHODS:  # the batches of a recipe of one's own are as they are
            recipe = recipe.for_size(len(dataset["train"]))
    checked = check_protocols(protocols, METHODS[recipe.method], has_classes=is_labelled(dataset))
    recipe = recipe.for_protocol(checked[0]).for_columns(dataset["train"].column_names)
    recipe = recipe.changed(encoders=encoders, config=settings.config, training=training)
    others: dict[str, Any] = {"early_stopping_patience": patience, "captions": captions, "train_rows": train_rows}
    recipe = recipe.changed(**{name: value for name, value in others.items() if value is not None})
    recipes = {f"{length}-bits": recipe.with_bits(length) for length in bits} or {"": recipe}
    trainings = {
        output_dir / (name if len(recipes) > 1 else "") / (f"seed-{seed}" if len(seeds) > 1 else ""): (of_length, seed)
        for (name, of_length), seed in product(recipes.items(), seeds)
    }
    check_may_be_folder(output_dir)
    if not (resume or overwrite_output_dir):
        for folder in trainings:
            refuse_finished_run(folder)
    features = make_features(recipe, dataset, data.dataset, hold_out)
    runs: dict[Path, TrainingRun] = {}
    for folder, (recipe_of_length, seed) in trainings.items():
        runs[folder] = train(
            recipe_of_length,
            dataset,
            data.dataset,
            folder,
            seed=seed,
            protocols=protocols,
            half=half,
            resume=resume,
            overwrite=overwrite_output_dir,
            command=recorded_command(),
            features=features,
            held_out=hold_out,
            data_name=data.title,
            data_dir=data.folder,
        )
    if len(recipes) > 1:
        logging.info("%s", "\n".join(map(table_markdown, make_tables(find_checkpoints(list(runs))))))
    elif len(runs) > 1:
        logging.info("%s", summarise(list(runs.values())))
    logging.info("Saved in %s.", output_dir)
