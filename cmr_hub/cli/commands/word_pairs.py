"""`cmr word-pairs`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import DatasetChoice, dataset_options, figure_option, option


@click.command("word-pairs", cls=Command, requires={"gensim": "text"})
@dataset_options
@option("--pairs", several=True, metavar="WORD:WORD", help="Pairs of words, instead of those of the data set.")
@figure_option("Also draw a bar plot here", required=False)
def command(*, data: DatasetChoice, pairs: Sequence[str], output: Path | None) -> None:
    """Compare vectorisers by the cosine of related words."""
    from cmr_hub.experiments.word_pairs import VECTORISERS, compare_vectorisers, default_pairs, draw, parse_pairs
    from cmr_hub.utils.plots import check_suffix, save

    if output:
        check_suffix(output)
    compared = parse_pairs(pairs) if pairs else default_pairs(data.dataset)
    table = compare_vectorisers(data.load_with("train")["train"], compared, VECTORISERS)
    logging.info("%s", table)
    if output:
        save(draw(table), output)
