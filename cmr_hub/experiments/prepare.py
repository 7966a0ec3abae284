"""Everything that a gallery in the Space needs: data, features, checkpoints, measured results, embeddings, a map."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from datasets import DatasetDict, concatenate_datasets
from transformers import TrainerCallback

from cmr_hub.data import info, load_dataset
from cmr_hub.data.columns import COLUMNS, read_column
from cmr_hub.data.content import content_digest
from cmr_hub.data.labels import has_labels
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.hub import CheckpointInfo, list_checkpoints
from cmr_hub.methods import METHODS
from cmr_hub.processing.feature_store import FeatureStore
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.gallery_layout import MAP_NAME
from cmr_hub.retrieval.maps import NeighbourMap
from cmr_hub.retrieval.prepared import prepared_folder, prepared_galleries
from cmr_hub.retrieval.retriever import Retriever
from cmr_hub.training.datasets import make_encoder
from cmr_hub.training.recipe import Recipe, load_recipe, methods_with_recipe
from cmr_hub.training.run import has_finished_run
from cmr_hub.training.train import train
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.files import atomic_file

logger = logging.getLogger(__name__)

DATA_NAME = "data.json"  # in the folder of a data set: what its checkpoints and galleries were made of

Report = Callable[[str, float, str], None]
# Shares of the whole at which a stage ends; training, embedding and layout share what is left, method by method.
DOWNLOADED, EXTRACTED = 0.4, 0.7
TRAINED, EMBEDDED = 0.75, 0.85  # of a method's share


def prepare(dataset_name: str, data_dir: Path | None = None, *, report: Report) -> None:
    """Make the galleries of a data set, one for each method whose recipe says so or that is published for it.

    What is complete is kept and not made again, so that an interrupted or cancelled preparation goes on where it
    stopped: files already downloaded, images already encoded, epochs already trained, galleries already built.

    Args:
        dataset_name: one of `cmr_hub.data.list_datasets()`.
        data_dir: where its files are; downloaded from the official source otherwise.
        report: called with stage, share of the whole in [0, 1], and a line of text.

    Raises:
        UnknownNameError, DatasetError, DownloadError, InputError: the data are not to be had or not usable, or others
            than those that were prepared under this name.
    """
    title = info(dataset_name).title
    report("download", 0.0, f"Looking for {title}")
    dataset = load_dataset(
        dataset_name,
        data_dir,
        progress=lambda fraction, message: report("download", DOWNLOADED * fraction, message),
    )
    _check_data(dataset, dataset_name)
    published = {
        known.method: known
        for known in list_checkpoints()
        # What eats released features needs no gallery of its own: it is embedded in no time.
        if known.accepts_raw_images and _is_for(known, dataset_name, dataset)
    }
    recipes = [load_recipe(method, dataset_name) for method in methods_with_recipe()]
    recipes = [
        for_data(recipe, dataset)
        for recipe in recipes
        if (recipe.prepare or recipe.method in published)
        and (has_labels(dataset["train"].column_names) or not METHODS[recipe.method].needs_labels())
    ]
    report("features", DOWNLOADED, f"Encoding {sum(map(len, dataset.values()))} pairs")
    _extract_features(recipes, published, dataset, report)
    step = (1 - EXTRACTED) / len(recipes)
    for number, recipe in enumerate(recipes):
        start = EXTRACTED + number * step
        folder = prepared_folder(dataset_name, recipe.method) / "gallery"
        if recipe.method not in prepared_galleries(dataset_name):
            report("train", start, f"Training {recipe.title}")
            epochs = ReportEpochs(report, recipe.title, start, TRAINED * step)
            retriever = _checkpoint(recipe, dataset, dataset_name, epochs)
            report("gallery", start + TRAINED * step, f"Building the gallery of {recipe.title}")
            everything = concatenate_datasets(list(dataset.values()))
            Gallery.from_dataset(everything, retriever, name=title).save_pretrained(folder)
        if not (folder / MAP_NAME).exists():
            report("map", start + EMBEDDED * step, f"Laying out the gallery of {recipe.title} by t-SNE")
            gallery = Gallery.from_pretrained(folder)
            NeighbourMap.of(gallery).save(folder / MAP_NAME, gallery)
    report("done", 1.0, f"{title} is ready")


def _check_data(dataset: DatasetDict, dataset_name: str) -> None:
    """Refuse other data than those that earlier checkpoints and galleries of this name were made of."""
    record = prepared_folder(dataset_name) / DATA_NAME
    now = {str(split): content_digest(rows) for split, rows in dataset.items()}
    if not record.exists():
        with atomic_file(record) as scratch:
            scratch.write_text(json.dumps(now, indent=2) + "\n")
    elif read_json(record) != now:
        raise InputError(
            f"{record.parent} was prepared from other data than these, which are called {dataset_name!r} too. Remove "
            "that folder to prepare these, or give the data_dir that it was prepared from."
        )


class ReportEpochs(TrainerCallback):
    """Tells each epoch of a training as a part of the share that the training has of the whole."""

    def __init__(self, report: Report, title: str, start: float, share: float):
        self.report, self.title, self.start, self.share = report, title, start, share

    def on_epoch_end(self, args, state, control, **kwargs):
        done = self.start + self.share * state.epoch / args.num_train_epochs
        self.report("train", done, f"Training {self.title}: epoch {round(state.epoch)}")


def for_data(recipe: Recipe, dataset: DatasetDict) -> Recipe:
    """The recipe with encoders for what the data set holds.

    Images and texts are encoded where it has them, so that a query can be typed or dropped; otherwise its released
    features are read.
    """
    columns = dataset["train"].column_names
    if not all(raw in columns for raw, _ in COLUMNS.values()):
        return recipe
    general = load_recipe(recipe.method)
    return recipe.changed(encoders=general.encoders, config=general.config)


def _extract_features(
    recipes: Sequence[Recipe], published: Mapping[str, CheckpointInfo], dataset: DatasetDict, report: Report
) -> None:
    """Fill the feature store of each image encoder split by split, so that the progress moves."""
    encoders = [
        Retriever.from_pretrained(published[recipe.method].repo_id).processor.image_encoder
        if recipe.method in published
        else make_encoder("image", recipe.encoders["image"], dataset["train"])
        for recipe in recipes
    ]
    different = {encoder.fingerprint: encoder for encoder in encoders if encoder.cacheable}
    steps = [(encoder, split) for encoder in different.values() for split in dataset]
    for number, (encoder, split) in enumerate(steps, start=1):
        FeatureStore(encoder).stored(read_column(dataset[split], COLUMNS["image"][0]))
        share = DOWNLOADED + (EXTRACTED - DOWNLOADED) * number / len(steps)
        report("features", share, f"Encoded the {split} split")


def _is_for(known: CheckpointInfo, dataset_name: str, dataset: DatasetDict) -> bool:
    """Whether a published checkpoint eats what this data set holds."""
    raw = all(column in dataset["train"].column_names for column, _ in COLUMNS.values())
    return (known.dataset, known.accepts_raw_images) == (dataset_name, raw)


def _was_trained(folder: Path) -> bool:
    """Whether a checkpoint was trained here before; one whose record is damaged is trained anew."""
    try:
        return has_finished_run(folder)
    except CheckpointError as error:
        logger.warning("%s The checkpoint is trained anew.", error)
        return False


def _checkpoint(recipe: Recipe, dataset: DatasetDict, dataset_name: str, epochs: ReportEpochs) -> Retriever:
    """The published checkpoint where one eats what this data set holds; else one trained before, or now."""
    for known in list_checkpoints():
        if known.method == recipe.method and _is_for(known, dataset_name, dataset):
            return Retriever.from_pretrained(known.repo_id)
    folder = prepared_folder(dataset_name, recipe.method)
    if not _was_trained(folder):
        command = f"cmr prepare {dataset_name}"
        train(
            recipe,
            dataset,
            dataset_name,
            folder,
            resume=True,
            overwrite=True,
            command=command,
            callbacks=[epochs],
        )
    return Retriever.from_pretrained(folder)
