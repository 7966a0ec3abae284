"""List the bundled checkpoints, and read what a checkpoint says of itself: configuration, processor, card."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.repocard import RepoCard

from cmr_hub.errors import CheckpointError
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.deprecation import RenamedAttribute
from cmr_hub.utils.hub import NAMESPACE, bundled_checkpoints, resolve

RUN_NAME = "training_run.json"  # what a training leaves next to its weights; the card is written from it
ARRAYS = "precomputed"  # the encoder that passes arrays on; no torch is imported to ask it


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself in its configuration and card.

    Attributes:
        repo_id: "cmr/<name>" of a bundled one; a repo id, or a folder, of another.
        method: the method's name in the registry ("dscmr", "cca" …).
        dataset: name of the data set that it was trained on; "" where it does not say.
        license: licence of the weights.
        image_input: name of its image encoder; None where it eats arrays.
        text_input: name of its text encoder; None where it eats arrays.
        metrics: the measured results, as in the card's model-index.
    """

    repo_id: str
    method: str
    dataset: str
    license: str
    image_input: str | None
    text_input: str | None
    metrics: tuple[EvalResult, ...]

    @property
    def accepts_raw_images(self) -> bool:
        """Whether it embeds images; else it embeds arrays of image features."""
        return self.image_input is not None

    @property
    def accepts_raw_texts(self) -> bool:
        """Whether it embeds strings; else it embeds arrays of text features."""
        return self.text_input is not None

    takes_raw_images = RenamedAttribute("accepts_raw_images")
    takes_raw_texts = RenamedAttribute("accepts_raw_texts")


def list_checkpoints(pattern: str = "*") -> list[CheckpointInfo]:
    """The bundled checkpoints whose id ("cmr/dscmr-emoji") or name ("dscmr-emoji") matches a shell-style pattern.

    Raises:
        CheckpointError: a bundled folder is damaged; names the file.

    Example:
    ```python
    >>> from cmr_hub.hub import list_checkpoints
    >>> all(info.method == "cca" for info in list_checkpoints("cca-*"))
    True
    ```
    """
    return [
        _read_info(NAMESPACE + folder.name, folder, _card_data(folder / "README.md"))
        for folder in bundled_checkpoints(pattern).values()
    ]


def checkpoint_info(location: str) -> CheckpointInfo:
    """What one checkpoint says of itself: a bundled one, one of the Hub, or a folder that `cmr train` made.

    Args:
        location: repo id or folder.

    Raises:
        CheckpointError: there is none, or it is damaged.

    Example:
    ```python
    >>> from cmr_hub.hub import checkpoint_info
    >>> info = checkpoint_info("cmr/dscmr-emoji")
    >>> info.method, info.dataset
    ('dscmr', 'emoji')
    ```
    """
    folder = resolve(location)
    path = folder / "README.md"  # a checkpoint that has not been published yet has none
    return _read_info(location, folder, _card_data(path) if path.exists() else ModelCardData())


def _read_info(location: str, folder: Path, card: ModelCardData) -> CheckpointInfo:
    metrics, run = tuple(card.eval_results or ()), folder / RUN_NAME
    image_input, text_input = read_inputs(folder)
    return CheckpointInfo(
        repo_id=location,
        method=read_json(folder / "config.json").get("model_type", ""),
        dataset=metrics[0].dataset_type if metrics else read_json(run).get("dataset", "") if run.exists() else "",
        license=card.license or "",
        image_input=image_input,
        text_input=text_input,
        metrics=metrics,
    )


def _card_data(path: Path) -> ModelCardData:
    return _parsed_card(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache  # a card's YAML takes long to parse, and the Space's views ask for all of them each time they open
def _parsed_card(path: Path, changed: int) -> ModelCardData:
    return cast(ModelCardData, read_card(path, ModelCard).data)


def read_inputs(folder: Path) -> tuple[str | None, str | None]:
    """Names of the image and the text encoder in a checkpoint's `processor_config.json`; None where it eats arrays.

    Raises:
        CheckpointError: the file is missing, is no JSON object or describes no encoders.
    """
    path = folder / "processor_config.json"
    config, names = read_json(path), []
    for modality in ("image", "text"):
        encoder = config.get(f"{modality}_encoder") or {}
        if not isinstance(encoder, dict) or not isinstance(name := encoder.get("name"), str | None):
            raise CheckpointError(f"{path} describes no {modality} encoder. Fetch the checkpoint again.")
        names.append(None if name == ARRAYS else name)
    return names[0], names[1]


def read_card(path: Path, card_class: type[RepoCard] = RepoCard) -> RepoCard:
    """A repo's README with its metadata parsed.

    Raises:
        CheckpointError: the file is missing, or its metadata block cannot be parsed.
    """
    try:
        return card_class(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no card: {path.name} is missing.") from None
    except (ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f"The metadata block of {path} cannot be parsed: {error}") from None
