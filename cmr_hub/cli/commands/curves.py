"""`cmr curves`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import (
    DatasetChoice,
    backend_options,
    dataset_options,
    figure_option,
    focus_option,
    json_option,
    option,
    protocol_option,
    split_option,
    write_json,
)


@click.command("curves", cls=Command, requires={"matplotlib": "train"})
@option(
    "--checkpoints",
    several=True,
    required=True,
    metavar="CHECKPOINT",
    renamed_from=["--checkpoint"],
    help="Folders or repo ids.",
)
@dataset_options
@split_option
@protocol_option("dcmh", "Protocol, one with class labels.")
@focus_option("Focus of the queries")
@option(
    "--lookup",
    type=click.Choice(["pooled", "mean"]),
    default="pooled",
    help="Hash lookup of codes: over all queries together, as the papers count, or averaged query by query.",
)
@backend_options
@figure_option("Receives the figure")
@json_option("Also write the points here.")
def command(
    *,
    checkpoints: Sequence[str],
    data: DatasetChoice,
    split: str,
    protocol: str,
    focus: float | None,
    lookup: str,
    output: Path,
    json: Path | None,
) -> None:
    """Draw precision-recall curves of checkpoints, for codes also by radius."""
    from cmr_hub.data.base import searched_split
    from cmr_hub.evaluation import evaluate, get_protocol
    from cmr_hub.experiments.curves import draw, points
    from cmr_hub.retrieval.retriever import Retriever
    from cmr_hub.utils.plots import check_suffix, save

    check_suffix(output)
    drawn = get_protocol(protocol) if focus is None else get_protocol(protocol, focus=focus)
    dataset = data.load_with(split, *{drawn.gallery} - {"test"})
    results = {
        checkpoint: evaluate(
            Retriever.from_pretrained(checkpoint), dataset[split], drawn, searched_split(dataset), curves=True
        )
        for checkpoint in checkpoints
    }
    figure = draw(results, lookup)
    figure.suptitle(next(iter(results.values())).protocol.describe(), fontsize=7, wrap=True)
    save(figure, output)
    logging.info("%s", output)
    if json:
        write_json(json, points(results))
