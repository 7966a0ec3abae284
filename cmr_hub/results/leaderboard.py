"""What checkpoints measured of themselves, side by side: every figure with its protocol and its seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from cmr_hub.encoders.spec import EncoderSpec
from cmr_hub.errors import CheckpointError
from cmr_hub.evaluation import DIRECTIONS
from cmr_hub.hub.checkpoints import RUN_NAME
from cmr_hub.hub.weights import check_weights
from cmr_hub.methods import METHODS
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.hub import bundled_checkpoints

from .ranking import saw_captions
from .schema import Published
from .store import convert

METRICS = ("map", "mean_recall")  # the numbers that protocols compare runs by


@dataclass(frozen=True)
class Figures:
    """One metric in both directions.

    Attributes:
        image_to_text, text_to_image: of the two directions; None where a publication gives none.
        mean: of both; None where not both are known.
    """

    image_to_text: float | None
    text_to_image: float | None
    mean: float | None


@dataclass(frozen=True)
class Score:
    """What one checkpoint scores on the test split of its data under one protocol.

    Attributes:
        checkpoint: repo id or folder.
        method: the method's name in the registry.
        title: as people write it.
        supervision: "supervised" where it learns from classes, "unsupervised" where from pairs alone.
        dataset: name of the data set that it was trained and measured on.
        bits: code length of a hashing method; None of any other.
        encoders: modality -> encoder, as people write it.
        saw_captions: why the score flatters, where an encoder was trained on the data set's captions; else empty.
        protocol: name of the protocol.
        description: the protocol in one line.
        metric: the number that the protocol compares runs by: "map" or "mean_recall".
        measured: by this repo's own evaluation.
        seeds: seeds of the runs; none of a closed form, which chance has no part in.
        published: what a publication gives under the same protocol; None where it gives nothing.
        published_in: which publication.
    """

    checkpoint: str
    method: str
    title: str
    supervision: str
    dataset: str
    bits: int | None
    protocol: str
    description: str
    metric: str
    measured: Figures
    seeds: tuple[int, ...]
    published: Figures | None = None
    published_in: str = ""
    encoders: Mapping[str, str] = field(default_factory=dict)
    saw_captions: str = ""


def list_scores(pattern: str = "*") -> list[Score]:
    """The scores of the bundled checkpoints whose id ("cmr/dscmr-emoji") or name matches a shell-style pattern.

    Returns:
        Checkpoint by checkpoint; the protocols in the order in which its card has them.

    Raises:
        CheckpointError: a bundled folder is damaged; names the file.

    Example:
    ```python
    >>> scores = [score for score in list_scores("*-wiki") if score.protocol == "dscmr"]
    >>> best = max(scores, key=lambda score: score.measured.mean)
    >>> best.title, round(best.measured.mean, 2)
    ('IDCMR', 0.27)
    ```
    """
    return [
        score for repo_id, folder in bundled_checkpoints(pattern).items() for score in read_scores(folder, repo_id)
    ]


def read_scores(folder: Path, checkpoint: str = "") -> list[Score]:
    """The scores of one checkpoint that `cmr train` made, from its own record.

    Args:
        folder: the checkpoint.
        checkpoint: what to call it; by default the folder.

    Raises:
        CheckpointError: the record is missing, damaged, of another version or of other weights.
    """
    path = folder / RUN_NAME
    run = read_json(path)
    check_weights(run.get("weights"), path)
    try:
        return list(_scores(run, folder, checkpoint or str(folder)))
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged, or of another version of cmr_hub ({error!r}).") from error


def _scores(run: Mapping[str, Any], folder: Path, checkpoint: str) -> Iterator[Score]:
    model = METHODS[run["method"]]
    bits = read_json(folder / "config.json")["embed_dim"] if model.is_hashing else None
    published = convert(run["recipe"]["published"], Published, folder / RUN_NAME)
    encoders = {modality: EncoderSpec.parse(given) for modality, given in run["recipe"]["encoders"].items()}
    reason = saw_captions(encoders, run["dataset"])
    for entry in run["results"]:
        metric = next((name for name in METRICS if name in entry["metrics"]), None)
        # "epoch": what another epoch than the one kept would give.
        if entry["split"] != "test" or metric is None or "epoch" in entry:
            continue
        cited = published.under(entry["protocol"])
        yield Score(
            checkpoint=checkpoint,
            method=run["method"],
            title=model.title,
            supervision=model.supervision,
            dataset=run["dataset"],
            bits=bits,
            protocol=entry["protocol"],
            description=entry["description"],
            metric=metric,
            measured=_figures(entry["metrics"], metric),
            seeds=tuple(entry["seeds"]),
            published=_figures(cited, metric) if cited else None,
            published_in=published.source if cited else "",
            encoders={modality: str(encoder) for modality, encoder in encoders.items()},
            saw_captions=reason,
        )


def _figures(metrics: Mapping[str, float], metric: str) -> Figures:
    there, back = (metrics.get(f"{direction}/{metric}") for direction in DIRECTIONS)
    both = metrics.get(metric)
    if both is None and there is not None and back is not None:
        both = round(mean([there, back]), 4)
    return Figures(there, back, both)
