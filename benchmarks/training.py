"""How long training takes: `python benchmarks/training.py [--methods NAME …] [--epochs N] [--json FILE]`.

Every registered method trains by its recipe, for a few epochs, on random features of the shapes of Wikipedia and
RSICD; those that eat regions and words instead are left out. What an epoch costs, its validation included, does not
depend on what the features mean. The last column is what all epochs that the recipe allows would cost: a bound, since
early stopping ends far sooner. What whole trainings took is in their records, and `cmr table` shows it.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import report
from cmr_hub import list_methods
from cmr_hub.encoders.spec import EncoderSpec
from cmr_hub.errors import InputError
from cmr_hub.training.recipe import Recipe, load_recipe
from cmr_hub.training.train import train


@dataclass(frozen=True)
class Shape:
    """How large a data set is."""

    pairs: dict[str, int]
    image_dim: int
    text_dim: int
    classes: int


SHAPES = {
    "wiki": Shape({"train": 1956, "validation": 217, "test": 693}, image_dim=128, text_dim=10, classes=10),
    "rsicd": Shape({"train": 8734, "validation": 1094, "test": 1093}, image_dim=1280, text_dim=50, classes=31),
}


class Clock(TrainerCallback):
    """When each epoch began, and when the last was over."""

    def __init__(self) -> None:
        self.ticks: list[float] = []

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.ticks.append(time.perf_counter())

    def on_train_end(self, args, state, control, **kwargs):
        self.ticks.append(time.perf_counter())

    @property
    def epoch(self) -> float:
        """Seconds of the fastest epoch: what the others took longer is other programs' doing."""
        return float(np.diff(self.ticks).min())


def random_dataset(shape: Shape) -> DatasetDict:
    """Features round the centre of their class; none is negative, as histograms have it."""
    random = np.random.default_rng(0)
    centres = {modality: random.random((shape.classes, dim)) for modality, dim in _dims(shape).items()}
    features = {f"{modality}_features": List(Value("float32"), length=dim) for modality, dim in _dims(shape).items()}
    label = ClassLabel(num_classes=shape.classes)
    return DatasetDict(
        {
            split: Dataset.from_dict(
                _random_rows(split, pairs, centres, random),
                features=Features({"id": Value("string"), **features, "label": label}),
            )
            for split, pairs in shape.pairs.items()
        }
    )


def _dims(shape: Shape) -> dict[str, int]:
    return {"image": shape.image_dim, "text": shape.text_dim}


def _random_rows(
    split: str, pairs: int, centres: dict[str, np.ndarray], random: np.random.Generator
) -> dict[str, Any]:
    labels = random.integers(0, len(centres["image"]), pairs)
    rows = {modality: centre[labels] + random.random((pairs, centre.shape[1])) for modality, centre in centres.items()}
    columns = {f"{modality}_features": values.astype(np.float32) for modality, values in rows.items()}
    return {"id": [f"{split}-{row}" for row in range(pairs)], **columns, "label": labels}


def measure(recipe: Recipe, shape_name: str, dataset: DatasetDict, epochs: int) -> dict[str, Any]:
    """Train once, and say what it took."""
    most = recipe.training.get("num_train_epochs")
    quick = recipe.changed(
        encoders={modality: _precomputed(recipe.encoders[modality]) for modality in ("image", "text")},
        captions="set",
        training={"num_train_epochs": epochs} if recipe.training else {},
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        run = train(quick, dataset, shape_name, Path(folder), callbacks=[clock])
    is_closed_form = run.epochs is None
    epoch = 0.0 if is_closed_form else clock.epoch
    return {
        "method": recipe.method,
        "features like": shape_name,
        "epochs": "closed form" if is_closed_form else run.epochs,
        "seconds": run.seconds,
        "seconds per epoch": "" if is_closed_form else epoch,
        "recipe's epochs": "" if is_closed_form else most,
        "at most, seconds": run.seconds if is_closed_form else run.seconds + (most - run.epochs) * epoch,
    }


def _precomputed(spec: EncoderSpec) -> EncoderSpec:
    """The recipe's encoder where it takes features, with its transform; plain features in place of any other."""
    return spec if spec.name == "precomputed" else EncoderSpec("precomputed")


def main() -> None:
    methods = [method.name for method in list_methods()]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods, metavar="NAME")
    parser.add_argument("--epochs", type=int, default=3, help="of each method that learns by gradient")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    args = parser.parse_args()

    logging.getLogger("training").setLevel(logging.WARNING)
    rows = []
    for name, shape in SHAPES.items():
        dataset = random_dataset(shape)
        for method in args.methods:
            try:
                rows.append(measure(load_recipe(method, name), name, dataset, args.epochs))
            except InputError as error:  # a code longer than these features can carry, or a method of regions
                print(f"{method} is left out on features like {name}'s: {error}", file=sys.stderr)
    report(rows, args.json)


if __name__ == "__main__":
    main()
