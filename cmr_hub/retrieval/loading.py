"""Load model and processor of a checkpoint, and check that they fit each other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from cmr_hub.errors import CheckpointError
from cmr_hub.methods import METHODS
from cmr_hub.modeling.modeling_cmr import CMRModel
from cmr_hub.processing.processing_cmr import CMRProcessor
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import checked
from cmr_hub.utils.hub import Location, fetching_options, resolve

from .dual_encoder import is_dual_encoder, load_dual_encoder


def load_parts(
    repo_id_or_path: str | os.PathLike,
    *,
    location: Location,
    dtype: torch.dtype | str | None,
    device: torch.device,
    verify: bool,
) -> tuple[CMRModel, CMRProcessor, Path]:
    """Load a checkpoint's model and processor; see `Retriever.from_pretrained` for the arguments.

    Args:
        repo_id_or_path: folder or id.
        location: which files of it, and from where.
        dtype: of the model's weights.
        device: where all of it computes.
        verify: compare the files with their digests.

    Returns:
        Model, processor, and the folder that they come from.

    Raises:
        CheckpointNotFoundError: no such folder, bundled name or repo.
        CheckpointError: files that are missing or corrupt, or a model of an unknown type.
    """
    folder = resolve(repo_id_or_path, **location)
    with checked(folder, verify):  # once for both
        model, processor = _load_both(folder, repo_id_or_path, location, dtype)
    parts: tuple[Any, ...] = (model, processor)
    for part in parts:
        part.to(device)
    return model, processor, folder


def _load_both(
    folder: Path, repo_id_or_path: str | os.PathLike, location: Location, dtype: torch.dtype | str | None
) -> tuple[CMRModel, CMRProcessor]:
    method = read_json(folder / "config.json").get("model_type")
    if isinstance(method, str) and method in METHODS:
        model = METHODS[method].from_pretrained(folder, dtype=dtype, verify=False)
        return model, CMRProcessor.from_pretrained(folder, verify=False, **fetching_options(location))
    if isinstance(method, str) and is_dual_encoder(method):
        return load_dual_encoder(folder, repo_id_or_path, location, dtype)
    raise CheckpointError(
        f"{folder / 'config.json'} is of model_type {method!r:.100}, which is no method of this cmr_hub "
        f"({', '.join(sorted(METHODS))}) and no dual encoder of transformers (as CLIP and SigLIP are: one "
        "embedding for images, one for texts)."
    )


def check_fit(model: CMRModel, processor: CMRProcessor) -> None:
    """Refuse a processor that gives a model other features than it takes.

    Raises:
        CheckpointError: features of another kind or width.
    """
    for modality in ("image", "text"):
        takes, gets = getattr(model.config, f"{modality}_dim"), getattr(processor, f"{modality}_encoder").dim
        if takes != gets:
            raise CheckpointError(f"The model eats {modality} features of width {takes}, its processor gives {gets}.")
    check_inputs(type(model), processor)
    takes, gets = getattr(model.config, "text_input", model.text_input), processor.text_encoder.input_name
    if takes != gets:
        raise CheckpointError(f"The model eats {takes}, and its text encoder gives {gets}.")


def check_inputs(model_class: type[CMRModel], processor: CMRProcessor) -> None:
    """Refuse a processor whose encoders give another kind of input than a method eats.

    Raises:
        CheckpointError: pooled features for a method that attends to regions, or the like.
    """
    for modality in ("image", "text"):
        eats, encoder = [getattr(model_class, f"{modality}_input")], getattr(processor, f"{modality}_encoder")
        if modality == "text":
            eats.extend(model_class.text_inputs)
        if encoder.input_name not in eats:
            raise CheckpointError(
                f"{model_class.title} eats {' or '.join(eats)}, and the {modality} encoder {encoder.name!r} gives "
                f"{encoder.input_name}: region_features come from an image encoder with a grid "
                "({name: efficientnet-lite0, grid: 7}), input_ids from the text encoder 'tokens', word_features from "
                "'minilm-tokens', and features from the others."
            )
