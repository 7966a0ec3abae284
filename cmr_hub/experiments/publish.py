"""From a trained checkpoint to a finished Hub repo: the card, its results, and the upload."""

from __future__ import annotations

import dataclasses
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmr_hub import data
from cmr_hub.encoders import encoder_class
from cmr_hub.errors import InputError
from cmr_hub.hub import check_publishable, push_folder
from cmr_hub.hub.card import CardContent, DatasetFacts, Reproduced, ReproducedFigure, ResultRow, write_card
from cmr_hub.hub.checkpoints import RUN_NAME
from cmr_hub.hub.weights import weights_digest
from cmr_hub.methods import METHODS
from cmr_hub.results.cells import has_column
from cmr_hub.results.schema import Published, Row
from cmr_hub.results.store import convert, stored_results
from cmr_hub.training.recipe import load_recipe
from cmr_hub.training.run import TrainingRun, refuse_gallery
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import CHECKSUMS_NAME, checked, saved, write_checksums
from cmr_hub.utils.hub import bundled_checkpoints, check_repo_id
from cmr_hub.utils.local_paths import command_without_local_paths, without_local_paths

from .table import Checkpoint, same_recipe

LICENSE = "apache-2.0"  # of weights that were trained on published data
OWN_DATA = "the author's own images and texts"
HUB_DATA = "https://huggingface.co/datasets/"
SCORES = {
    "real-valued": (
        "A score is a cosine within this space, not a probability, and does not compare across checkpoints."
    ),
    "binary": (
        "A Hamming distance has few values, so that many items tie, in short codes most of all; it is no probability "
        "and does not compare across checkpoints."
    ),
}


@dataclasses.dataclass(frozen=True)
class Terms:
    """What nobody but the publisher knows of weights that were trained on data of one's own.

    Attributes:
        license: of the weights, an identifier of the Hub such as "cc-by-4.0"; None for Apache-2.0, where the data are
            published ones.
        data_title: what the data are called.
        data_license: their licence, in words.
        data_url: their page.

    Raises:
        InputError: the licence is no identifier, or the page no web address.
    """

    license: str | None = None
    data_title: str = ""
    data_license: str = ""
    data_url: str = ""

    def __post_init__(self) -> None:
        if self.license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license):
            raise InputError(
                f"The licence {self.license!r} is no identifier of the Hub: give one such as 'apache-2.0', "
                "'cc-by-4.0' or 'other'."
            )
        if self.data_url and not self.data_url.startswith(("https://", "http://")):
            raise InputError(f"The page of the data is {self.data_url!r}: give an address that starts with https://.")


def publish(
    checkpoint: Path,
    repo_id: str,
    *,
    output_dir: Path | None = None,
    private: bool = False,
    terms: Terms | None = None,
) -> str:
    """Write the card of a checkpoint that `train` made, and publish it; the checkpoint itself stays as it is.

    Paths of this machine, which the record of the training holds, are shortened to their last name.

    Args:
        checkpoint: the folder.
        repo_id: "owner/name".
        output_dir: where the finished repo is written instead of the Hub.
        private: whether a repo created on the Hub is private.
        terms: licence of the weights, and the data, where they are one's own.

    Returns:
        The folder written, or the repo's address.

    Raises:
        InputError: the data are one's own, and no licence of the weights is given; or `output_dir` holds a gallery or
            another checkpoint.
        CheckpointNotFoundError: `repo_id` cannot be one.
        CheckpointError: the folder was not made by `train`, or cannot be published. Nothing is written then.
    """
    check_repo_id(repo_id)
    run, terms = TrainingRun.load(checkpoint), terms or Terms()
    _data_facts(run, terms)
    if output_dir is not None:
        _refuse_others(output_dir, checkpoint)
    public = _without_places(run)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "repo"
        with checked(checkpoint):
            shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns(".*", "trainer"))
        if public != run:
            public.save(folder)
        _write(folder, repo_id, public, terms)
        if not (folder / CHECKSUMS_NAME).exists():  # of an older version
            write_checksums(folder)
        if output_dir is None:
            return push_folder(folder, repo_id, private=private)
        check_publishable(folder)
        with saved(output_dir) as target:
            shutil.copytree(folder, target, dirs_exist_ok=True)
    return str(output_dir)


def _refuse_others(folder: Path, checkpoint: Path) -> None:
    """Refuse a folder that holds something else than what was published of this checkpoint before.

    Raises:
        InputError: it does.
    """
    refuse_gallery(folder)
    if any(folder.glob("*.safetensors")) and weights_digest(folder) != weights_digest(checkpoint):
        raise InputError(f"{folder} holds another checkpoint than {checkpoint}: give another folder, or remove it.")


def _without_places(run: TrainingRun) -> TrainingRun:
    """A record without the paths of this machine."""
    fields = without_local_paths(dataclasses.asdict(dataclasses.replace(run, command="", data_dir=None)))
    return TrainingRun(**{**fields, "command": command_without_local_paths(run.command)})


def refresh_cards(dataset: str) -> list[Path]:
    """Write the cards of the bundled checkpoints of a data set anew; their weights and records stay as they are.

    Returns:
        The cards.

    Raises:
        CheckpointError: a bundled folder is damaged; names the file.
    """
    runs = {repo_id: (folder, TrainingRun.load(folder)) for repo_id, folder in bundled_checkpoints().items()}
    return [_write(folder, repo_id, run) for repo_id, (folder, run) in runs.items() if run.dataset == dataset]


def _write(folder: Path, repo_id: str, run: TrainingRun, terms: Terms | None = None) -> Path:
    config, processor = (read_json(folder / f"{name}config.json") for name in ("", "processor_"))
    content = card_content(run, repo_id, processor, reproduced(Checkpoint(folder, run)), terms, class_names(config))
    return write_card(folder, content)


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes in a checkpoint's `config.json`; none where it was trained without, or they have no names.

    Example:
    ```python
    >>> class_names({"id2label": {"0": "cat", "1": "dog"}}), class_names({"id2label": {"0": "LABEL_0"}})
    (('cat', 'dog'), ())
    ```
    """
    names = {int(row): str(name) for row, name in (config.get("id2label") or {}).items()}
    is_named = any(name != f"LABEL_{row}" for row, name in names.items())
    return tuple(names[row] for row in sorted(names)) if is_named else ()


def _data_facts(run: TrainingRun, terms: Terms) -> DatasetFacts:
    """The data that a checkpoint was trained on.

    Raises:
        InputError: they are one's own, and the licence of the weights is not given.
    """
    facts = data.info(run.dataset)
    if facts.homepage:
        return DatasetFacts(facts.name, facts.title, facts.license, facts.homepage, facts.citation)
    if terms.license is None:
        raise InputError(
            f"These weights were trained on data of your own ({facts.name}), and which licence they are under is for "
            "you to say: add --license with an identifier of the Hub (apache-2.0, cc-by-4.0, other …). --data-title, "
            "--data-license and --data-url say more about the data."
        )
    repo_id = terms.data_url.removeprefix(HUB_DATA).strip("/") if terms.data_url.startswith(HUB_DATA) else ""
    title = terms.data_title or run.data_name or OWN_DATA
    return DatasetFacts(facts.name, title, terms.data_license, terms.data_url, repo_id=repo_id, is_own=True)


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


def card_content(
    run: TrainingRun,
    repo_id: str,
    processor: dict,
    reproduced: Reproduced | None = None,
    terms: Terms | None = None,
    classes: tuple[str, ...] = (),
) -> CardContent:
    """What the card says, from the run's record, the recipe and the data set's own description.

    Args:
        run: the record.
        repo_id: "owner/name".
        processor: what `processor_config.json` holds.
        reproduced: what the recipe gives over seeds.
        terms: licence of the weights, and the data, where they are one's own.
        classes: names of the classes, where the data set's own description has none.

    Raises:
        InputError: the data are one's own, and no licence of the weights is given.
    """
    recipe, terms = load_recipe(run.method, run.dataset), terms or Terms()
    facts = _data_facts(run, terms)
    settings = {**run.recipe["config"], **run.recipe["training"], "seed": run.seed}
    settings |= {name: run.recipe[name] for name in ("captions", "augmentations") if run.recipe.get(name)}
    settings |= {f"tuned {name}": value for name, value in (run.tuned or {}).items()}
    if run.epochs is not None:
        settings |= {"epochs trained": run.epochs, "epoch kept": run.best_epoch}
        if not run.held_out and "validation" not in (run.data or {}):
            settings["epoch chosen on"] = "no data: the last one was kept"
    published = convert(run.recipe["published"], Published, RUN_NAME)
    return CardContent(
        repo_id=repo_id,
        method_title=recipe.title,
        method_summary=recipe.summary,
        paper=recipe.paper,
        dataset=facts,
        # What another epoch than the one kept would give is no result of these weights.
        results=tuple(_row(entry, published) for entry in run.results if "epoch" not in entry),
        training_command=run.command,
        hyperparameters=settings,
        versions=run.versions,
        limits=_limits(run, facts, data.info(run.dataset).classes or classes, processor),
        license=terms.license or LICENSE,
        hashing=METHODS[run.method].is_hashing,
        has_attention=METHODS[run.method].has_attention,
        credits=credits_of(processor),
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


def credits_of(processor: dict) -> dict[str, str]:
    """Modality -> whose weights its encoder has; only of those that have any."""
    names = {modality: processor[f"{modality}_encoder"]["name"] for modality in ("image", "text")}
    credits = {modality: encoder_class(modality, name).credit_of(name) for modality, name in names.items()}
    return {modality: credit for modality, credit in credits.items() if credit}


def _limits(run: TrainingRun, facts: DatasetFacts, classes: tuple[str, ...], processor: dict) -> str:
    what, shown = "what lies outside these classes", f" ({', '.join(classes)})"
    if not classes:
        what, shown = "what these data do not show", ""
    lines = [
        f"Trained on the training split of {facts.title} alone{shown}: {what} has no place of its own in the common "
        "space.",
        SCORES[METHODS[run.method].representation],
    ]
    name = processor["text_encoder"]["name"]
    encoder = encoder_class("text", name)
    lines += filter(None, (encoder.limits_of(name), encoder.trained_on(name).get(run.dataset)))
    return "\n".join(f"- {line}" for line in lines)
