"""The dual encoders of transformers (CLIP, SigLIP …) behind a Retriever, with their own embeddings.

They are no method of the registry: nothing is trained here, and the common space is their own.
"""

# Nothing postpones annotations here: `@strict` checks types only where they are types, not strings.

import os
from pathlib import Path

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import CONFIG_MAPPING, MODEL_MAPPING

from cmr_hub.encoders import create_encoder
from cmr_hub.errors import CheckpointError
from cmr_hub.modeling.auto_classes import register_auto_classes
from cmr_hub.modeling.configuration_cmr import CMRConfig
from cmr_hub.modeling.modeling_cmr import CMRModel
from cmr_hub.processing.processing_cmr import CMRProcessor
from cmr_hub.utils.hub import read_json

SAVED_IN = "dual_encoder"  # one copy of a local model, for both sides


@strict
class DualEncoderConfig(CMRConfig):
    r"""
    The three widths of `CMRConfig` are one: a dual encoder's features already are embeddings of the common space.

    Example:

    ```python
    >>> from cmr_hub.retrieval.dual_encoder import DualEncoderConfig, DualEncoderModel
    >>> model = DualEncoderModel(DualEncoderConfig(image_dim=2, text_dim=2, embed_dim=2))
    >>> model.get_image_features(torch.tensor([[3.0, 4.0]])).tolist()
    [[3.0, 4.0]]
    ```
    """

    model_type = "dual_encoder"

    embed_dim: int = 512
    image_dim: int = 512
    text_dim: int = 512

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if not self.image_dim == self.text_dim == self.embed_dim:
            raise ValueError(
                f"A dual encoder has one width for both sides, not image_dim {self.image_dim}, text_dim "
                f"{self.text_dim} and embed_dim {self.embed_dim}."
            )


class DualEncoderModel(CMRModel):
    """The identity: images and texts come out of the processor's encoders as embeddings of one space.

    `log_scale` is the dual encoder's own: the logarithm of what it multiplies cosines with to get logits (0 where it
    does not say). Nearest neighbours do not depend on it.
    """

    title = "Dual encoder"
    paper = "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021"
    supervision = "unsupervised"
    config_class = DualEncoderConfig
    config: DualEncoderConfig

    def __init__(self, config: DualEncoderConfig):
        super().__init__(config)
        self.log_scale = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.post_init()

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return image_features

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return text_features


register_auto_classes(DualEncoderModel, lambda: CMRProcessor)


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
    model_class = MODEL_MAPPING.get(CONFIG_MAPPING[model_type], None) if model_type in CONFIG_MAPPING else None
    has_both = all(hasattr(model_class, f"get_{modality}_features") for modality in ("image", "text"))
    return has_both and not issubclass(model_class, CMRModel)


def load_dual_encoder(
    folder: Path, repo_id_or_path: str | os.PathLike, revision: str | None = None
) -> tuple[DualEncoderModel, CMRProcessor]:
    """Model and processor of a dual encoder, as transformers saves it or as a Retriever does.

    Args:
        folder: where its files are.
        repo_id_or_path: what the user called it. A saved Retriever refers to a repo by its id and revision, and
            carries the model of a local folder.
        revision: branch, tag or commit of the repo.

    Raises:
        CheckpointError: weights or preprocessors are missing or damaged, there are no safetensors, or its images
            need more than pixel values (SigLIP 2 with a free aspect ratio).
    """
    if read_json(folder / "config.json")["model_type"] == DualEncoderConfig.model_type:
        model, processor = DualEncoderModel.from_pretrained(str(folder)), CMRProcessor.from_pretrained(folder)
        processor.text_encoder.share_model(processor.image_encoder)
        return model, processor
    is_local = Path(os.path.expanduser(repo_id_or_path)) == folder
    name = f"transformers/{folder if is_local else repo_id_or_path}"
    image, text = (create_encoder(modality, name, revision=revision) for modality in ("image", "text"))
    if is_local:
        image.saved_in = text.saved_in = SAVED_IN
    text.share_model(image)
    if set(image.takes) != {"pixel_values"}:
        raise CheckpointError(f"{repo_id_or_path} wants more of an image than pixel values: {', '.join(image.takes)}.")
    config = DualEncoderConfig(image_dim=image.dim, text_dim=text.dim, embed_dim=image.dim)
    model = DualEncoderModel(config)
    with torch.no_grad():
        model.log_scale.copy_(getattr(text.network, "logit_scale", model.log_scale).reshape(()))
    return model, CMRProcessor(image, text)
