"""Whether a model means what its attention says: does the score fall when the region that it looks at is deleted?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from tqdm.auto import tqdm

from cmr_hub.data.columns import column_of, read_column
from cmr_hub.errors import InputError
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.processing.processing_cmr import CMRProcessor
from cmr_hub.retrieval.explanation import attend, check_attends, matching_scores
from cmr_hub.retrieval.retriever import Retriever
from cmr_hub.utils.images import load_image
from cmr_hub.utils.markdown import markdown_table

IMAGES_AT_ONCE = 32
RESAMPLES = 2000
REGIONS = ("most attended", "least attended", "random")

Inputs = Mapping[str, torch.Tensor]


class Deletion(Protocol):
    """Some images, of which single regions can be deleted.

    Attributes:
        meaning: what deleting is, in words.
        whole: the images as the model eats them, a row each.
    """

    meaning: ClassVar[str]
    whole: Inputs

    def __init__(self, processor: CMRProcessor, images: Sequence[Any]) -> None: ...

    def without(self, rows: Sequence[int], regions: Sequence[int]) -> Inputs:
        """As `whole`, of images that each lack one region: `rows` says which image, `regions` which region."""
        ...


class ByPixels(Deletion):
    """A region's cell of the image is painted over, and the image encoded anew: what a person would cover up."""

    meaning = "its cell filled with the image's mean colour"

    def __init__(self, processor: CMRProcessor, images: Sequence[Any]):
        self._processor = processor
        self._images = [load_image(image) for image in images]
        self.whole = processor(images=self._images)

    def without(self, rows: Sequence[int], regions: Sequence[int]) -> Inputs:
        grid = cast(Any, self._processor.image_encoder).grid
        places = zip(rows, regions, strict=True)
        return self._processor(images=[fill_cell(self._images[row], region, grid) for row, region in places])


class ByFeatures(Deletion):
    """A region's features are replaced: nothing of it is left, whatever its neighbours' features know of it."""

    meaning = "its features replaced by the mean of the image's regions"

    def __init__(self, processor: CMRProcessor, images: Sequence[Any]):
        self.whole = processor(images=images, cache=True)

    def without(self, rows: Sequence[int], regions: Sequence[int]) -> Inputs:
        (name, features), *_ = self.whole.items()
        changed = features[rows]
        changed[torch.arange(len(changed)), regions] = changed.mean(dim=1)
        return {name: changed}


DELETIONS: Mapping[str, type[Deletion]] = {"pixels": ByPixels, "features": ByFeatures}


def fill_cell(image: Image.Image, region: int, grid: int) -> Image.Image:
    """A copy of an image with one cell of a `(grid, grid)` grid over it in the image's mean colour.

    Args:
        image: mode "RGB".
        region: the cell, counted row by row from the top left.
        grid: cells a side.
    """
    row, column = divmod(region, grid)
    left, right = (round(edge * image.width / grid) for edge in (column, column + 1))
    top, bottom = (round(edge * image.height / grid) for edge in (row, row + 1))
    mean = np.asarray(image).mean(axis=(0, 1))
    filled = image.copy()
    filled.paste(tuple(np.rint(mean).astype(int).tolist()), (left, top, right, bottom))
    return filled


@dataclass(frozen=True)
class Estimate:
    """A mean over images, and the interval that holds 95 % of the means of images drawn anew (bootstrap)."""

    value: float
    low: float
    high: float

    def cell(self, decimals: int) -> str:
        """As tables have it: the value, and the interval in brackets."""
        return f"{self.value:.{decimals}f} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"


@dataclass(frozen=True)
class Faithfulness:
    """What deleting single regions does to the score of matching pairs.

    An image counts once, however many captions it has: its captions' values are averaged first.

    Attributes:
        by: how regions were deleted, a name of `DELETIONS`.
        seed: of the random regions and the bootstrap.
        images: how many.
        pairs: how many pairs of an image and one of its captions; the same words twice are one caption.
        regions: how many an image has.
        steps: how many steps of attention were averaged.
        score: mean cosine of whole images with their captions.
        falls_more: "most attended" and "least attended" -> share of pairs whose score falls more without that region
            than without a random one of the others; ties count a half.
        drops: these and "random" -> by how much the cosine falls.
    """

    by: str
    seed: int
    images: int
    pairs: int
    regions: int
    steps: int
    score: float
    falls_more: Mapping[str, Estimate]
    drops: Mapping[str, Estimate]

    def table(self) -> str:
        """Markdown: one row per kind of deleted region."""
        rows = [
            [name, self.falls_more[name].cell(3) if name in self.falls_more else "", self.drops[name].cell(4)]
            for name in REGIONS
        ]
        columns = ["deleted region", "lowers the score more than a random one", "mean drop of the cosine"]
        return "\n".join(
            [
                f"One region of {self.regions} deleted by {self.by}: {DELETIONS[self.by].meaning}. Attention averaged "
                f"over {self.steps} steps; {self.images:,} images, each counted once, and {self.pairs:,} pairs "
                f"with their captions; mean cosine {self.score:.4f}; seed {self.seed}. In brackets 95 % bootstrap "
                "intervals over images.",
                "",
                markdown_table(columns, rows),
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON values."""
        return dataclasses.asdict(self)


def measure_faithfulness(
    retriever: Retriever, dataset: Dataset, *, by: str = "pixels", seed: int = 0, show_progress: bool = False
) -> Faithfulness:
    """Delete, for each image and each of its captions, the most, the least and a random one of the other regions.

    The random region of an image is the same for all its captions, unless one of them gives it the most or the least
    attention: the next of a random order is taken there.

    Args:
        retriever: a checkpoint of a method that attends and matches.
        dataset: the split, with images and texts.
        by: how to delete, a name of `DELETIONS`.
        seed: of the random regions and the bootstrap.
        show_progress: show a bar.

    Raises:
        InputError: the method does not attend, or gives answers instead of scores; the images have fewer than three
            regions; or a column is missing.
    """
    model, processor = retriever.model, retriever.processor
    check_attends(model)
    images = read_column(dataset, column_of(dataset, "image", accepts_raw_input=True))
    captions = [list(dict.fromkeys(texts)) for texts in dataset[column_of(dataset, "text", accepts_raw_input=True)][:]]
    orders = np.random.default_rng(seed)
    batches = []
    for start in tqdm(range(0, len(dataset), IMAGES_AT_ONCE), "Deleting regions", disable=not show_progress):
        rows = slice(start, start + IMAGES_AT_ONCE)
        deletion = DELETIONS[by](processor, images[rows])
        batches.append(_delete(model, processor, deletion, captions[rows], orders))
    scores, drops = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("scores", "drops"))
    most, least, random = drops.T
    falls_more = np.stack([(one > random) + 0.5 * (one == random) for one in (most, least)], axis=1)
    owners = np.repeat(np.arange(len(captions)), [len(texts) for texts in captions])
    of_images = _means(np.column_stack([scores, falls_more, drops]), owners)
    score, *estimates = _estimates(of_images, seed)
    return Faithfulness(
        by=by,
        seed=seed,
        images=len(of_images),
        pairs=len(scores),
        regions=batches[0].regions,
        steps=batches[0].steps,
        score=score.value,
        falls_more=dict(zip(REGIONS[:2], estimates[:2], strict=True)),
        drops=dict(zip(REGIONS, estimates[2:], strict=True)),
    )


@dataclass(frozen=True)
class _Batch:
    """Of `p` pairs the scores `(p,)` and how much they drop without each of REGIONS `(p, 3)`."""

    scores: np.ndarray
    drops: np.ndarray
    regions: int
    steps: int


def _delete(
    model: CMRModel,
    processor: CMRProcessor,
    deletion: Deletion,
    captions: Sequence[Sequence[str]],
    orders: np.random.Generator,
) -> _Batch:
    owners = np.repeat(np.arange(len(captions)), [len(texts) for texts in captions])
    text_inputs = processor(text=[text for texts in captions for text in texts])
    output = attend(model, {**_rows(deletion.whole, owners), **text_inputs})
    scores = _scores(output)
    attentions = cast(torch.Tensor, output.image_attentions)  # (pairs, steps, regions)
    _, steps, regions = attentions.shape
    if regions < 3 or not steps:
        raise InputError(
            f"{steps} steps of attention over {regions} regions: at least one step and three regions are needed, so "
            "that a random region can differ from those that have the most and the least attention."
        )
    weights = attentions.mean(dim=1).cpu().numpy()
    most, least = weights.argmax(axis=1), weights.argmin(axis=1)
    ranks = orders.permuted(np.tile(np.arange(regions), (len(captions), 1)), axis=1)[owners]
    pairs = np.arange(len(owners))
    ranks[pairs, most] = ranks[pairs, least] = regions
    deleted = np.stack([most, least, ranks.argmin(axis=1)], axis=1)

    # Captions mostly agree about an image: what they delete of it together is encoded once.
    places, row_of = np.unique(owners[:, None] * regions + deleted, return_inverse=True)
    inputs = deletion.without(*(part.tolist() for part in np.divmod(places, regions)))
    row_of = row_of.reshape(deleted.shape)
    after = [_scores(attend(model, {**_rows(inputs, row_of[:, i]), **text_inputs})) for i in range(len(REGIONS))]
    return _Batch(scores, scores[:, None] - np.stack(after, axis=1), regions, steps)


def _rows(inputs: Inputs, rows: np.ndarray) -> dict[str, torch.Tensor]:
    return {name: tensor[torch.from_numpy(rows)] for name, tensor in inputs.items()}


def _scores(output: CMROutput) -> np.ndarray:
    scores = matching_scores(output)
    if scores is None:
        raise InputError(
            "This checkpoint answers texts as questions and gives pairs no score that could fall; measure one that "
            "matches images and texts."
        )
    return scores.double().cpu().numpy()


def _means(values: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """The mean of the rows of each owner that has any: `(p, c)` to `(images, c)`."""
    _, first = np.unique(owners, return_index=True)
    return np.add.reduceat(values, first) / np.bincount(owners)[owners[first]][:, None]


def _estimates(values: np.ndarray, seed: int) -> list[Estimate]:
    """The mean of each column of `(n, c)` values, rows drawn anew for its interval."""
    rng, n = np.random.default_rng(seed), len(values)
    means = np.stack([values[rng.integers(n, size=n)].mean(axis=0) for _ in range(RESAMPLES)])
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return [Estimate(*row) for row in np.stack([values.mean(axis=0), low, high], axis=1).tolist()]
