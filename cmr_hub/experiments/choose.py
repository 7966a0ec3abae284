"""Which method suits a data set: a few quick ones, trained on the same pairs and compared on the same others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from datasets import DatasetDict

from cmr_hub.data.base import check_splits
from cmr_hub.data.columns import Modality
from cmr_hub.data.labels import is_labelled
from cmr_hub.encoders.spec import GivenEncoder
from cmr_hub.errors import InputError
from cmr_hub.evaluation import Protocol, decimals
from cmr_hub.methods import METHODS
from cmr_hub.training.recipe import Recipe, load_recipe
from cmr_hub.training.splits import HELD_OUT, with_validation
from cmr_hub.training.train import train
from cmr_hub.utils.markdown import markdown_table

logger = logging.getLogger(__name__)

# Each takes seconds on a thousand pairs whose features are there, and minutes on ten thousand.
LABELLED = ("unified", "semantic_matching", "cca")
UNLABELLED = ("unified", "contrastive", "cca")


@dataclass(frozen=True)
class Candidate:
    """A method that was tried.

    Attributes:
        recipe: it was trained by.
        score: on the validation split, by the number that the protocol compares runs by; the mean of both directions.
        seconds: the training took.
    """

    recipe: Recipe
    score: float
    seconds: float


def candidates(
    dataset: DatasetDict,
    dataset_name: str,
    protocol: Protocol,
    encoders: Mapping[Modality, GivenEncoder] | None = None,
    *,
    seed: int = 0,
    held_out: float | None = None,
) -> list[Candidate]:
    """Train quick methods on a data set without its test split, and rank them by the validation split.

    All have the same encoders. What is closed-form has no use for the validation pairs and does not learn from them
    either, so that the comparison is fair.

    Args:
        dataset: has a split "train".
        dataset_name: as `cmr_hub.data` knows it.
        protocol: they are compared under.
        encoders: modality -> encoder, in place of those of `unified`'s recipe.
        seed: of everything that chance decides.
        held_out: share of the training split that serves for validation where the data set defines none.

    Returns:
        The best first.

    Raises:
        InputError: there is no training split, or too little of it, or none of them can be trained on it.
    """
    check_splits(dataset, ["train"], dataset_name)
    splits = with_validation(dataset, held_out or HELD_OUT)
    seen = DatasetDict({name: splits[name] for name in ("train", "validation")})
    columns = seen["train"].column_names
    names = LABELLED if is_labelled(splits) else UNLABELLED
    given: Mapping[Modality, GivenEncoder] = {**load_recipe(names[0], dataset_name).encoders, **(encoders or {})}
    found = []
    with TemporaryDirectory() as folder:
        for name in names:
            recipe = load_recipe(name, dataset_name).for_size(len(seen["train"])).changed(encoders=given)
            recipe = recipe.for_columns(columns)
            try:
                run = train(recipe, seen, dataset_name, Path(folder, name), seed=seed, protocols=[protocol])
            except InputError as error:  # such as fewer features than its recipe's embeddings have
                logger.warning("%s is left out: %s", recipe.title, error)
                continue
            metrics = run.results[0]["metrics"]
            ways = [value for way, value in metrics.items() if way.endswith(f"/{protocol.primary_metric}")]
            found.append(Candidate(recipe, metrics.get(protocol.primary_metric, mean(ways)), run.seconds))
    if not found:
        raise InputError(f"None of {', '.join(names)} can be trained on {dataset_name!r}; the warnings say why.")
    return sorted(found, key=lambda one: -one.score)


def described(found: list[Candidate], protocol: Protocol) -> str:
    """The candidates as a table, the best first, with what was compared."""
    head = ["method", f"{protocol.primary_metric} on validation data", "seconds"]
    lines = [[METHODS[one.recipe.method].title, decimals(one.score), f"{one.seconds:.0f}"] for one in found]
    best = METHODS[found[0].recipe.method].title
    return f"{markdown_table(head, lines)}\n\n{protocol.describe()}\n{best} is trained."
