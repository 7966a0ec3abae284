"""`cmr evaluate`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import (
    DEFAULT_PROTOCOL,
    DatasetChoice,
    backend_options,
    checkpoint_option,
    dataset_options,
    focus_option,
    json_option,
    option,
    protocols_option,
    split_option,
    write_json,
)


@click.command("evaluate", cls=Command)
@checkpoint_option
@dataset_options
@split_option
@protocols_option([], f"Protocols of the results. {DEFAULT_PROTOCOL}")
@focus_option("Measure by each protocol once for each focus", several=True)
@backend_options
@json_option()
@option("--record", is_flag=True, help="Store the results in the checkpoint, for its card.")
def command(
    *,
    checkpoint: str,
    data: DatasetChoice,
    split: str,
    protocols: Sequence[str],
    focus: Sequence[float],
    json: Path | None,
    record: bool,
) -> None:
    """Measure a checkpoint."""
    from cmr_hub.data.base import check_splits, searched_split
    from cmr_hub.data.labels import is_labelled
    from cmr_hub.evaluation import default_protocol, evaluate, get_protocol
    from cmr_hub.hub.weights import weights_digest
    from cmr_hub.retrieval.retriever import Retriever
    from cmr_hub.training.run import TrainingRun, result_entry

    retriever = Retriever.from_pretrained(checkpoint)
    dataset = data.load_with(split)
    default = default_protocol(has_classes=is_labelled(dataset), is_hashing=retriever.model.is_hashing)
    named = [get_protocol(name) for name in protocols] or [default]
    measured = [get_protocol(protocol, focus=each) for protocol in named for each in focus] or named
    check_splits(dataset, {protocol.gallery for protocol in measured} - {"test"}, data.dataset)
    run = TrainingRun.load(Path(checkpoint)) if record else None
    entries = []
    for protocol in measured:
        result = evaluate(retriever, dataset[split], protocol, searched_split(dataset))
        logging.info("%s", result.table())
        entries.append(result_entry(result, split, run.seed if run and retriever.model.is_stochastic else None))
    if json:
        weights = None if retriever.folder is None else weights_digest(retriever.folder)
        write_json(json, [{**entry, "weights": weights} for entry in entries])
    if run:
        run.with_results(entries).save(Path(checkpoint))
