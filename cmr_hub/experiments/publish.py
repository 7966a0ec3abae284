"""From a trained checkpoint to a finished Hub repo: the card, its results, and the upload."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmr_hub import data
from cmr_hub.encoders import encoder_class
from cmr_hub.hub import push_folder
from cmr_hub.hub.card import CardContent, DatasetFacts, Reproduced, ReproducedFigure, ResultRow, write_card
from cmr_hub.hub.checkpoints import RUN_NAME
from cmr_hub.methods import METHODS
from cmr_hub.results.cells import has_column
from cmr_hub.results.schema import Published, Row
from cmr_hub.results.store import convert, stored_results
from cmr_hub.training.recipe import load_recipe
from cmr_hub.training.run import TrainingRun
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import CHECKSUMS_NAME, checked, saved, write_checksums
from cmr_hub.utils.hub import bundled_checkpoints, check_repo_id

from .table import Checkpoint, same_recipe

LICENSE = "apache-2.0"
SCORES = {
    "real-valued": (
        "A score is a cosine within this space, not a probability, and does not compare across checkpoints."
    ),
    "binary": (
        "A Hamming distance has few values, so that many items tie, in short codes most of all; it is no probability "
        "and does not compare across checkpoints."
    ),
}


def publish(checkpoint: Path, repo_id: str, *, output_dir: Path | None = None, private: bool = False) -> str:
    """Write the card of a checkpoint that `train` made, and publish it.

    Args:
        checkpoint: the folder.
        repo_id: "owner/name".
        output_dir: where the finished repo is written instead of the Hub.
        private: whether a repo created on the Hub is private.

    Returns:
        The folder written, or the repo's address.

    Raises:
        CheckpointNotFoundError: `repo_id` cannot be one.
        CheckpointError: the folder was not made by `train`, or cannot be published.
    """
    check_repo_id(repo_id)
    run = dataclasses.replace(TrainingRun.load(checkpoint), data_dir=None)  # a place on this machine
    folder = checkpoint if output_dir is None else _copy(checkpoint, output_dir)
    _write(folder, repo_id, run)
    run.save(folder)
    if not (folder / CHECKSUMS_NAME).exists():  # of an older version
        write_checksums(folder)
    return str(folder) if output_dir is not None else push_folder(folder, repo_id, private=private)


def refresh_cards(dataset: str) -> list[Path]:
    """Write the cards of the bundled checkpoints of a data set anew; their weights and records stay as they are.

    Returns:
        The cards.

    Raises:
        CheckpointError: a bundled folder is damaged; names the file.
    """
    runs = {repo_id: (folder, TrainingRun.load(folder)) for repo_id, folder in bundled_checkpoints().items()}
    return [_write(folder, repo_id, run) for repo_id, (folder, run) in runs.items() if run.dataset == dataset]


def _write(folder: Path, repo_id: str, run: TrainingRun) -> Path:
    processor = read_json(folder / "processor_config.json")
    return write_card(folder, card_content(run, repo_id, processor, reproduced(Checkpoint(folder, run))))


def reproduced(checkpoint: Checkpoint) -> Reproduced | None:
    """What the repository's results have of the recipe that a checkpoint was trained by; None where they have nothing.

    They count where they were measured on the whole data set, as the checkpoint was trained on it, and with the same
    settings in everything but the seed and the precision that weights are stored in.
    """
    results = stored_results(checkpoint.run.dataset)
    if results is None or not results.complete:
        return None
    row = next((row for row in results.table.rows if same_recipe(row, checkpoint)), None)
    return None if row is None else _reproduced(row, results.table.protocols, results.command)


def _reproduced(row: Row, protocols: Mapping[str, str], command: str) -> Reproduced:
    """A row of results as the card shows it: the metrics that have a column in tables."""
    figures = [
        ReproducedFigure(protocol, name, str(spread), row.measured[protocol])
        for protocol, spreads in row.metrics.items()
        for name, spread in spreads.items()
        if has_column(name)
    ]
    return Reproduced(
        figures=tuple(figures),
        protocols={name: protocols[name] for name in row.metrics},
        seeds=tuple(row.seeds),
        dtype=row.settings.get("dtype"),
        command=command,
    )


def card_content(run: TrainingRun, repo_id: str, processor: dict, reproduced: Reproduced | None = None) -> CardContent:
    """What the card says, from the run's record, the recipe and the data set's own description."""
    recipe, facts = load_recipe(run.method, run.dataset), data.info(run.dataset)
    settings = {**run.recipe["config"], **run.recipe["training"], "seed": run.seed}
    settings |= {name: run.recipe[name] for name in ("captions", "augmentations") if run.recipe.get(name)}
    settings |= {f"tuned {name}": value for name, value in (run.tuned or {}).items()}
    if run.epochs is not None:
        settings |= {"epochs trained": run.epochs, "epoch kept": run.best_epoch}
    published = convert(run.recipe["published"], Published, RUN_NAME)
    return CardContent(
        repo_id=repo_id,
        method_title=recipe.title,
        method_summary=recipe.summary,
        paper=recipe.paper,
        dataset=DatasetFacts(facts.name, facts.title, facts.license, facts.homepage, facts.citation),
        # What another epoch than the one kept would give is no result of these weights.
        results=tuple(_row(entry, published) for entry in run.results if "epoch" not in entry),
        training_command=run.command,
        hyperparameters=settings,
        versions=run.versions,
        limits=_limits(run, facts, processor),
        license=LICENSE,
        hashing=METHODS[run.method].is_hashing,
        has_attention=METHODS[run.method].has_attention,
        image_features=processor["image_encoder"].get("description", ""),
        text_features=processor["text_encoder"].get("description", ""),
        reproduced=reproduced,
        weights=run.weights,
    )


def _row(entry: dict[str, Any], published: Published) -> ResultRow:
    cited = published.under(entry["protocol"])
    return ResultRow(
        protocol=entry["protocol"],
        description=entry["description"],
        split=entry["split"],
        metrics=entry["metrics"],
        seeds=tuple(entry["seeds"]),
        published=cited,
        published_in=published.source if cited else "",
    )


def _limits(run: TrainingRun, facts: data.DatasetInfo, processor: dict) -> str:
    lines = [
        f"Trained on the training split of {facts.title} alone ({', '.join(facts.classes) or 'no classes'}): what "
        "lies outside these classes has no place of its own in the common space.",
        SCORES[METHODS[run.method].representation],
    ]
    name = processor["text_encoder"]["name"]
    encoder = encoder_class("text", name)
    lines += filter(None, (encoder.limits_of(name), encoder.trained_on(name).get(run.dataset)))
    return "\n".join(f"- {line}" for line in lines)


def _copy(checkpoint: Path, output_dir: Path) -> Path:
    with checked(checkpoint), saved(output_dir) as scratch:
        shutil.copytree(checkpoint, scratch, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "trainer"))
    return output_dir
