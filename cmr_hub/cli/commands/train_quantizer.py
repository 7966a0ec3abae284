"""`cmr train-quantizer`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import click

from cmr_hub.cli.command import Command, recorded_command
from cmr_hub.cli.options import option, output_dir_option, overwrite_option, seed_option, settings
from cmr_hub.cli.types import PATH
from cmr_hub.errors import UnknownNameError


@click.command("train-quantizer", cls=Command)
@option("--gallery", type=PATH, metavar="DIR", help="Gallery whose embeddings are learned from.")
@option("--vectors", type=PATH, metavar="FILE", help=".npy or .safetensors file of (n, d) vectors.")
@option(
    "--modality",
    type=click.Choice(["image", "text", "both"]),
    default="image",
    renamed_from=["--side"],
    help="Modality of the gallery.",
)
@output_dir_option("Receives the catalyser.")
@overwrite_option
@option("--output-dim", type=int, help="Width of its output. By default the paper's.")
@option("--koleo", type=float, help="Weight of the entropy term. By default the paper's.")
@option("--epochs", type=int, help="Epochs of training. By default the paper's.")
@seed_option(default=None)
@settings("--config", "Other fields of QuantizerSettings.")
def command(
    *,
    gallery: Path | None,
    vectors: Path | None,
    modality: Literal["image", "text", "both"],
    output_dir: Path,
    overwrite_output_dir: bool,
    output_dim: int | None,
    koleo: float | None,
    epochs: int | None,
    seed: int | None,
    config: Mapping[str, Any],
) -> None:
    """Train a catalyser (spreading vectors) for the index "lattice"."""
    if (gallery is None) == (vectors is None):
        raise click.UsageError("Give --gallery or --vectors, one of the two.")

    from cmr_hub.training.run import refuse_weights
    from cmr_hub.training.train_quantizer import QuantizerSettings, find_neighbours, read_vectors, save, spread

    shortcuts = {"output_dim": output_dim, "koleo": koleo, "epochs": epochs, "seed": seed}
    given = {**{name: value for name, value in shortcuts.items() if value is not None}, **config}
    known = [field.name for field in fields(QuantizerSettings)]
    for name in given:
        if name not in known:
            raise UnknownNameError("field of QuantizerSettings", name, known)
    chosen = QuantizerSettings(**given)
    if not overwrite_output_dir:
        refuse_weights(output_dir)
    model, run = spread(find_neighbours(read_vectors(gallery, modality, vectors), chosen), chosen)
    save(model, replace(run, command=recorded_command()), output_dir)
    logging.info("%s, epoch %d of %d", output_dir, run.best_epoch, len(run.history))
