"""The model card: what a checkpoint is, measured results with their protocol, data, limits. Written, never guessed."""

from __future__ import annotations

import html
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml
from huggingface_hub.constants import EVAL_RESULTS_FOLDER
from huggingface_hub.utils import yaml_dump

from cmr_hub.errors import InputError
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.files import atomic_folder
from cmr_hub.utils.hub import NAMESPACE

from .checkpoints import read_inputs
from .weights import WEIGHTS_KEY

_TEMPLATE = Path(__file__).parent / "templates" / "model_card.md.jinja"
_TASK = "cross-modal-retrieval"


@dataclass(frozen=True)
class Paper:
    """The paper that a method comes from.

    Attributes:
        title, authors, url: as the card prints them.
        citation: BibTeX.
    """

    title: str
    authors: str
    url: str
    citation: str


@dataclass(frozen=True)
class DatasetFacts:
    """The data that a checkpoint was trained on.

    Attributes:
        name: its name in cmr_hub ("emoji").
        title: its name for people.
        license: its licence in words; it may differ from that of the weights.
        homepage: its official address; "" where it has none.
        citation: BibTeX, or "" where there is nothing to cite.
        repo_id: its id on the Hub, by default `cmr/<name>`.
        is_own: whether these are somebody's own data, which are on the Hub under `repo_id` alone.
    """

    name: str
    title: str
    license: str
    homepage: str
    citation: str = ""
    repo_id: str = ""
    is_own: bool = False

    @property
    def hub_id(self) -> str:
        """The id that the card's metadata gives; "" where the data are on no Hub."""
        return self.repo_id or ("" if self.is_own else NAMESPACE + self.name)


@dataclass(frozen=True)
class ResultRow:
    """What was measured under one protocol on one split.

    Attributes:
        protocol: its name in cmr_hub.evaluation.
        description: the protocol in one line.
        split: the split that it was measured on.
        metrics: metric name -> value; the mean over `seeds`.
        seeds: seeds of the runs; empty for a method without chance.
        published: metric name -> value that a publication gives under the same protocol, where it does.
        published_in: which publication; required with `published`.

    Raises:
        InputError: a value is NaN or infinite, or a published figure has no source.
    """

    protocol: str
    description: str
    split: str
    metrics: Mapping[str, float]
    seeds: tuple[int, ...] = ()
    published: Mapping[str, float] = field(default_factory=dict)
    published_in: str = ""

    def __post_init__(self) -> None:
        for name, value in (*self.metrics.items(), *self.published.items()):
            if not math.isfinite(value):
                raise InputError(
                    f"{name} under protocol {self.protocol!r} is {value}; a card takes finite figures only."
                )
        if self.published and not self.published_in:
            raise InputError(
                f"The published figures under protocol {self.protocol!r} need their source: published_in."
            )


@dataclass(frozen=True)
class ReproducedFigure:
    """One metric over several runs.

    Attributes:
        protocol, metric: what was measured.
        value: mean and deviation as the card prints them.
        runs: number of runs.
    """

    protocol: str
    metric: str
    value: str
    runs: int


@dataclass(frozen=True)
class Reproduced:
    """What a checkpoint's recipe gives when it is trained again, with several seeds where it is stochastic.

    Attributes:
        figures: the metrics, protocol by protocol.
        protocols: name -> the line that describes it, of the protocols that occur in `figures`.
        seeds: seeds of the runs; empty for a closed form without randomness.
        dtype: precision of the weights that were measured; None where it is not known.
        command: the command line that trained and measured them.
    """

    figures: tuple[ReproducedFigure, ...]
    protocols: Mapping[str, str]
    seeds: tuple[int, ...]
    dtype: str | None
    command: str


@dataclass(frozen=True)
class CardContent:
    """All that a card says and that the checkpoint's own files do not.

    Attributes:
        repo_id: where the checkpoint is published ("cmr/dscmr-emoji").
        method_title: the method's name for people.
        method_summary: what it does, in a few sentences.
        paper: where it comes from.
        dataset: what it was trained on.
        results: measured figures; each protocol and split once.
        training_command: the command that made these weights.
        hyperparameters: what that command and its recipe set.
        versions: package -> version that it ran with.
        limits: known limits and biases, Markdown.
        license: licence of the weights, a Hub identifier such as "apache-2.0".
        hashing: whether the embeddings are binary codes.
        has_attention: whether the model can show where it looked.
        credits: modality -> whose weights its frozen encoder has, and under which licence, Markdown.
        image_features, text_features: for checkpoints that eat arrays, what one row is ("SIFT bag of words").
        reproduced: what its recipe gives over seeds; None where nobody measured that.
        weights: digest of the weights that were measured, as [`~cmr_hub.hub.weights.weights_digest`] has it; None
            where it is not known.

    Raises:
        InputError: a protocol is given twice for the same split.
    """

    repo_id: str
    method_title: str
    method_summary: str
    paper: Paper
    dataset: DatasetFacts
    results: tuple[ResultRow, ...]
    training_command: str
    hyperparameters: Mapping[str, Any]
    versions: Mapping[str, str]
    limits: str
    license: str
    hashing: bool = False
    has_attention: bool = False
    credits: Mapping[str, str] = field(default_factory=dict)
    image_features: str = ""
    text_features: str = ""
    reproduced: Reproduced | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        measured = [(row.protocol, row.split) for row in self.results]
        for twice in {pair for pair in measured if measured.count(pair) > 1}:
            raise InputError(f"Protocol {twice[0]!r} on split {twice[1]!r} has more than one row of results.")


def write_card(folder: str | os.PathLike, content: CardContent) -> Path:
    """Write a checkpoint's card: `README.md` with its metadata, and `.eval_results/<dataset>.yaml`.

    The method and the kind of input are read from the checkpoint's own `config.json` and `processor_config.json`.

    Args:
        folder: the checkpoint; both files are there already.
        content: the rest.

    Returns:
        The path of `README.md`.

    Raises:
        CheckpointError: a configuration file is missing or damaged.

    Example:
    ```python
    write_card("outputs/dscmr-emoji", CardContent(repo_id="cmr/dscmr-emoji", method_title="DSCMR", ...))
    ```
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    image_input, text_input = read_inputs(folder)
    protocols = {row.protocol: row.description for row in content.results}
    card = ModelCard.from_template(
        _card_data(content, config["model_type"]),
        template_path=str(_TEMPLATE),
        content=content,
        image_input=image_input,
        text_input=text_input,
        image_dim=config.get("image_dim", "d"),
        text_dim=config.get("text_dim", "d"),
        dtype=config.get("dtype"),
        protocols=protocols,
        other_protocols=_other_protocols(content.reproduced, protocols),
        prose=_prose,
        cell=_cell,
        fenced=_fenced,
    )
    with atomic_folder(folder) as scratch:
        (scratch / "README.md").write_text(str(card), encoding="utf-8")
        if content.results and content.dataset.hub_id:
            (scratch / EVAL_RESULTS_FOLDER).mkdir()
            entries = eval_result_entries_to_yaml(list(_eval_entries(content)))
            path = scratch / EVAL_RESULTS_FOLDER / f"{content.dataset.name}.yaml"
            path.write_text(yaml_dump(entries, sort_keys=False), encoding="utf-8")
    return folder / "README.md"


def _other_protocols(reproduced: Reproduced | None, described: Mapping[str, str]) -> dict[str, str]:
    """Those of figures over seeds that the card has not described yet, or otherwise."""
    if reproduced is None:
        return {}
    return {name: line for name, line in reproduced.protocols.items() if described.get(name) != line}


def _card_data(content: CardContent, method: str) -> ModelCardData:
    data = ModelCardData(
        license=content.license,
        library_name="cmr_hub",
        pipeline_tag="feature-extraction",
        tags=[_TASK, "image-text-retrieval", method, *(["hashing"] if content.hashing else [])],
        datasets=[content.dataset.hub_id] if content.dataset.hub_id else None,
        model_name=content.repo_id.split("/")[-1],
        eval_results=list(_eval_results(content)) or None,
    )
    if content.weights is not None:
        data[WEIGHTS_KEY] = content.weights
    return data


def _eval_results(content: CardContent) -> Iterator[EvalResult]:
    """The model-index: what the Hub shows beside the card."""
    for row in content.results:
        for metric, value in row.metrics.items():
            yield EvalResult(
                task_type=_TASK,
                task_name="Cross-modal retrieval",
                dataset_type=content.dataset.name,
                dataset_name=content.dataset.title,
                dataset_split=row.split,
                metric_type=metric,
                metric_name=f"{metric} (protocol {row.protocol})",
                metric_value=_rounded(value),
                metric_args={"protocol": row.protocol, "seeds": list(row.seeds)},
            )


def _eval_entries(content: CardContent) -> Iterator[EvalResultEntry]:
    """The same figures in the form that a benchmark's leaderboard reads."""
    for row in content.results:
        for metric, value in row.metrics.items():
            yield EvalResultEntry(
                dataset_id=content.dataset.hub_id,
                task_id=f"{row.protocol}-{row.split}-{metric}",
                value=_rounded(value),
                source_url=f"https://huggingface.co/{content.repo_id}",
                source_name="Model card",
                notes=f"protocol {row.protocol}: {row.description}; seeds: {_join(row.seeds)}",
            )


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _join(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds)) or "none"


def _prose(text: str) -> str:
    """Text from elsewhere as Markdown that cannot open an HTML tag."""
    return html.escape(str(text), quote=False)


def _cell(text: object) -> str:
    """Text for one cell of a Markdown table."""
    return _prose(" ".join(str(text).split())).replace("|", r"\|")


def _fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.strip()}\n{fence}"
