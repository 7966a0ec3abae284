"""Precision over recall of checkpoints on the test split of their data, measured when it is first asked for."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from cmr_hub.data import info, is_available, load_dataset
from cmr_hub.data.base import searched_split
from cmr_hub.evaluation import EvaluationResult, evaluate, get_protocol
from cmr_hub.hub import read_inputs
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.hub import resolve

from .prepared import prepared_galleries
from .retriever import Retriever

if TYPE_CHECKING:
    from datasets import DatasetDict

KEPT = 64  # results, each a few hundred numbers


def is_quick(checkpoint: str, dataset: str) -> bool:
    """Whether this machine can measure a checkpoint in seconds: the data are here, and no image has to be encoded.

    Args:
        checkpoint: repo id or folder.
        dataset: name of the data set.

    Raises:
        UnknownNameError: no such data set.
        CheckpointError: the checkpoint is not to be found, or damaged.
    """
    if not is_available(dataset):
        return False
    folder = resolve(checkpoint)
    takes_features = read_inputs(folder)[0] is None
    was_prepared = read_json(folder / "config.json").get("model_type") in prepared_galleries(dataset)
    return info(dataset).embedded or takes_features or was_prepared


def has_curves(protocol: str) -> bool:
    """Whether precision and recall mean something under a protocol: of classes, and of one ranking.

    Raises:
        UnknownNameError: no such protocol.
    """
    definition = get_protocol(protocol)
    return definition.relevance == "class" and definition.rerank is None


@lru_cache(maxsize=KEPT)
def measure_curves(checkpoint: str, dataset: str, protocol: str = "dscmr") -> EvaluationResult:
    """A checkpoint measured on the test split, with `curves`; kept in memory.

    Args:
        checkpoint: repo id or folder.
        dataset: name of the data set.
        protocol: one that [`has_curves`].

    Raises:
        UnknownNameError: no such data set or protocol.
        InputError: the protocol has no curves, or the data set is not what the checkpoint takes.
        DatasetError, CheckpointError: the data or the checkpoint are not to be had, or damaged.

    Example:
    ```python
    >>> result = measure_curves("cmr/cca-emoji", "emoji")
    >>> len(result.curves["image_to_text"]["precision"])
    11
    ```
    """
    splits = _splits(dataset)
    gallery = searched_split(splits)
    return evaluate(Retriever.from_pretrained(checkpoint), splits["test"], protocol, gallery, curves=True)


@cache
def _splits(dataset: str) -> DatasetDict:
    return load_dataset(dataset)
