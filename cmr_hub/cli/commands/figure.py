"""`cmr figure`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import (
    DatasetChoice,
    backend_options,
    checkpoint_option,
    dataset_options,
    figure_option,
    json_option,
    option,
    seed_option,
    split_option,
    write_json,
)


@click.command("figure", cls=Command, requires={"matplotlib": "train", "sklearn": "train"})
@checkpoint_option
@dataset_options
@split_option
@figure_option("Receives the figure")
@option(
    "--max-pairs",
    type=int,
    default=1000,
    renamed_from=["--most"],
    help="Pairs to draw at most; of more, some are chosen by their ids.",
)
@backend_options
@seed_option("Seed of the layout.")
@option("--perplexity", type=float, default=30.0, help="Number of neighbours of a point, roughly.")
@json_option("Also write the coordinates here.")
def command(
    *,
    checkpoint: str,
    data: DatasetChoice,
    split: str,
    output: Path,
    max_pairs: int,
    seed: int,
    perplexity: float,
    json: Path | None,
) -> None:
    """Draw a checkpoint's common space (t-SNE)."""
    from cmr_hub.experiments.figure import draw, project
    from cmr_hub.retrieval.retriever import Retriever
    from cmr_hub.utils.plots import check_suffix, save

    check_suffix(output)
    retriever = Retriever.from_pretrained(checkpoint)
    dataset = data.load_with(split)
    projection = project(retriever, dataset[split], most=max_pairs, seed=seed, perplexity=perplexity)
    shown = f"{len(projection.ids):,} of {len(dataset[split]):,} pairs"
    save(draw(projection, f"{retriever.name} · {data.dataset}, {split} split · {shown}"), output)
    logging.info("%s", output)
    if json:
        what = {"checkpoint": retriever.name, "dataset": data.dataset, "split": split}
        write_json(json, {**what, "seed": seed, "perplexity": perplexity, **projection.to_dict()})
