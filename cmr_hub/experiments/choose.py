"""Which method suits a data set: a few quick ones, trained on the same pairs and compared on the same others."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from datasets import DatasetDict

from cmr_hub.data.base import check_splits
from cmr_hub.data.columns import Modality
from cmr_hub.data.labels import is_labelled
from cmr_hub.encoders.base import TextEncoder
from cmr_hub.encoders.spec import GivenEncoder
from cmr_hub.errors import InputError
from cmr_hub.evaluation import Protocol, decimals, default_protocol
from cmr_hub.methods import METHODS
from cmr_hub.training.coverage import MIN_SHARE, report_coverage
from cmr_hub.training.datasets import FeatureSplits
from cmr_hub.training.recipe import Recipe, load_recipe
from cmr_hub.training.splits import HELD_OUT, with_validation
from cmr_hub.training.train import train
from cmr_hub.utils.markdown import markdown_table

logger = logging.getLogger(__name__)

# Each takes seconds on a thousand pairs whose features are there, and minutes on ten thousand.
LABELLED = ("unified", "semantic_matching", "cca")
UNLABELLED = ("unified", "contrastive", "cca")


LEARNING_TEXT_ENCODER = "tfidf"  # where the recipes' does not know the words


@dataclass(frozen=True)
class Candidate:
    """A method that was tried.

    Attributes:
        recipe: it was trained by.
        scores: protocol -> the number that it compares runs by, on the validation split; the mean of both directions.
        seconds: the training took.
    """

    recipe: Recipe
    scores: Mapping[str, float]
    seconds: float

    @property
    def score(self) -> float:
        """The mean over the protocols, by which candidates are ranked."""
        return mean(self.scores.values())


def protocols_to_compare_by(dataset: DatasetDict) -> list[Protocol]:
    """By what methods are compared where nobody says so: by class and by pair, as far as the data have both.

    A class measure alone prefers methods that tell items of a class apart no more, and with several classes per item
    nearly everything is relevant. Where most texts repeat, as names of classes do, pairs cannot be told apart.
    """
    default = default_protocol(has_classes=is_labelled(dataset))
    train = dataset["train"]
    texts = [tuple(texts) for texts in train["texts"][:]] if "texts" in train.column_names else range(len(train))
    has_own_texts = 2 * len(set(texts)) > len(train)
    return [default, default_protocol(has_classes=False)] if is_labelled(dataset) and has_own_texts else [default]


def candidates(
    dataset: DatasetDict,
    dataset_name: str,
    protocols: Sequence[Protocol],
    encoders: Mapping[Modality, GivenEncoder] | None = None,
    *,
    seed: int = 0,
    held_out: float | None = None,
    data_name: str | None = None,
) -> list[Candidate]:
    """Train quick methods on a data set without its test split, and rank them by the validation split.

    All have the same encoders. What is closed-form has no use for the validation pairs and does not learn from them
    either, so that the comparison is fair.

    Args:
        dataset: has a split "train".
        dataset_name: as `cmr_hub.data` knows it.
        protocols: they are compared under.
        encoders: modality -> encoder, in place of those of `unified`'s recipe. Where no text encoder is given and that
            of the recipe does not know the words, one that learns them takes its place.
        seed: of everything that chance decides.
        held_out: share of the training split that serves for validation where the data set defines none.
        data_name: what the data are called, where they are somebody's own.

    Returns:
        The best first.

    Raises:
        InputError: there is no training split, or too little of it, or none of them can be trained on it.
    """
    check_splits(dataset, ["train"], dataset_name)
    splits = with_validation(dataset, held_out or HELD_OUT)
    seen = DatasetDict({name: splits[name] for name in ("train", "validation")})
    names = LABELLED if is_labelled(splits) else UNLABELLED
    given = _common_encoders(load_recipe(names[0], dataset_name), seen, encoders or {})
    found = []
    with TemporaryDirectory() as folder:
        for name in names:
            recipe = load_recipe(name, dataset_name).for_size(len(seen["train"])).changed(encoders=given)
            recipe = recipe.for_columns(seen["train"].column_names)
            features = FeatureSplits(
                seen, seen, recipe.encoders, captions=recipe.captions, augmentations=recipe.augmentations
            )
            try:
                run = train(
                    recipe,
                    seen,
                    dataset_name,
                    Path(folder, name),
                    seed=seed,
                    protocols=protocols,
                    features=features,
                    data_name=data_name,
                )
            except InputError as error:  # such as fewer features than its recipe's embeddings have
                logger.warning("%s is left out: %s", recipe.title, error)
                continue
            measured = zip(protocols, run.results, strict=True)
            scores = {protocol.name: _primary(protocol, entry["metrics"]) for protocol, entry in measured}
            found.append(Candidate(recipe, scores, run.seconds))
    if not found:
        raise InputError(f"None of {', '.join(names)} can be trained on {dataset_name!r}; the warnings say why.")
    return sorted(found, key=lambda one: -one.score)


def described(found: list[Candidate], protocols: Sequence[Protocol]) -> str:
    """The candidates as a table, the best first, with what was compared."""
    head = ["method", *(f"{protocol.primary_metric} ({protocol.name})" for protocol in protocols)]
    head += ["mean"] * (len(protocols) > 1)
    lines = []
    for one in found:
        scores = [one.scores[protocol.name] for protocol in protocols]
        numbers = [*scores, one.score] if len(protocols) > 1 else scores
        lines.append([METHODS[one.recipe.method].title, *map(decimals, numbers), f"{one.seconds:.0f}"])
    best = METHODS[found[0].recipe.method].title
    definitions = "\n".join(protocol.describe() for protocol in protocols)
    table = markdown_table([*head, "seconds"], lines)
    return f"Compared on validation data:\n\n{table}\n\n{definitions}\n{best} is trained."


def _common_encoders(
    recipe: Recipe, seen: DatasetDict, given: Mapping[Modality, GivenEncoder]
) -> Mapping[Modality, GivenEncoder]:
    """The encoders of all candidates: those given, or the recipe's unless it does not know the words."""
    recipe = recipe.changed(encoders=given)
    fitted = recipe.for_columns(seen["train"].column_names)
    encoder = FeatureSplits(seen, seen, fitted.encoders).processor.text_encoder
    share = report_coverage(encoder, seen["train"])
    if share >= MIN_SHARE or "text" in given or not isinstance(encoder, TextEncoder) or encoder.learns_words:
        return recipe.encoders
    logger.warning(
        "%s takes the place of %s: it learns its words from your texts.", LEARNING_TEXT_ENCODER, encoder.name
    )
    return {**recipe.encoders, "text": LEARNING_TEXT_ENCODER}


def _primary(protocol: Protocol, metrics: Mapping[str, float]) -> float:
    ways = [value for way, value in metrics.items() if way.endswith(f"/{protocol.primary_metric}")]
    return metrics.get(protocol.primary_metric, mean(ways))
