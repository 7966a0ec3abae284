"""Load a dual encoder of transformers (CLIP, SigLIP …) as model and processor of a Retriever."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from transformers import CONFIG_MAPPING, MODEL_MAPPING

from cmr_hub.encoders import create_encoder
from cmr_hub.encoders.transformers_models import check_config
from cmr_hub.errors import CheckpointError
from cmr_hub.modeling.dual_encoder import DualEncoderConfig, DualEncoderModel
from cmr_hub.modeling.modeling_cmr import CMRModel
from cmr_hub.processing.processing_cmr import CMRProcessor
from cmr_hub.utils.checkpoint_files import check_folder, read_json
from cmr_hub.utils.hub import Location, fetching_options

if TYPE_CHECKING:
    from cmr_hub.encoders.transformers_models import Pretrained, TransformersImageEncoder

SAVED_IN = "dual_encoder"  # one copy of a local model, for both encoders


def is_dual_encoder(model_type: str | None) -> bool:
    """Whether checkpoints of this `model_type` embed images and texts into one space, each on its own.

    Example:
    ```python
    >>> [is_dual_encoder(model_type) for model_type in ("clip", "siglip", "bert", "cca", None)]
    [True, True, False, False, False]
    ```
    """
    if model_type == DualEncoderConfig.model_type:
        return True
    if model_type is None or model_type not in CONFIG_MAPPING:
        return False
    model_class = MODEL_MAPPING.get(CONFIG_MAPPING[model_type], None)
    has_both = all(hasattr(model_class, f"get_{modality}_features") for modality in ("image", "text"))
    return has_both and isinstance(model_class, type) and not issubclass(model_class, CMRModel)


def load_dual_encoder(
    folder: Path, repo_id_or_path: str | os.PathLike, location: Location, dtype: torch.dtype | str | None
) -> tuple[DualEncoderModel, CMRProcessor]:
    """Model and processor of a dual encoder, as transformers saves it or as a Retriever does; files are not checked.

    Args:
        folder: where its files are.
        repo_id_or_path: what the user called it. A saved Retriever refers to a repo by its id and revision, and
            carries the model of a local folder.
        location: which files of it, and from where.
        dtype: of the weights of the `DualEncoderModel`, as for other models; encoders compute in float32.

    Raises:
        CheckpointError: weights or preprocessors are missing or damaged, there are no safetensors, or its images
            need more than pixel values (SigLIP 2 with a free aspect ratio).
    """
    check_folder(folder)
    content = read_json(folder / "config.json")
    if content.get("model_type") == DualEncoderConfig.model_type:
        model = DualEncoderModel.from_pretrained(str(folder), dtype=dtype, verify=False)
        processor = CMRProcessor.from_pretrained(folder, verify=False, **fetching_options(location))
        cast("Pretrained", processor.text_encoder).share_model(cast("Pretrained", processor.image_encoder))
        return model, processor
    check_config(content, str(folder))
    # A repo's folder inside is carried too: encoders refer to whole repos.
    is_local = os.path.isdir(os.path.expanduser(repo_id_or_path)) or bool(location.get("subfolder"))
    revision = location.get("revision")
    name = f"transformers/{folder if is_local else repo_id_or_path}"
    image = cast("TransformersImageEncoder", create_encoder("image", name, revision=revision))
    text = cast("Pretrained", create_encoder("text", name, revision=revision))
    for encoder in (image, text):
        encoder.fetch_with(**fetching_options(location))
    if is_local:
        image.saved_in = text.saved_in = SAVED_IN
    text.share_model(image)
    if set(image.takes) != {"pixel_values"}:
        raise CheckpointError(f"{repo_id_or_path} wants more of an image than pixel values: {', '.join(image.takes)}.")
    config = DualEncoderConfig(image_dim=image.dim, text_dim=text.dim, embed_dim=image.dim)
    model = DualEncoderModel(config)
    with torch.no_grad():
        model.log_scale.copy_(getattr(text.network, "logit_scale", model.log_scale).reshape(()))
    if isinstance(dtype, torch.dtype):
        model.to(dtype=dtype)  # type: ignore[call-arg]  # transformers' wrapper hides what torch's method takes
    return model, CMRProcessor(image, text)
