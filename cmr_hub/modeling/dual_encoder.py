"""The identity as a model, for dual encoders of transformers (CLIP, SigLIP …) used with their own embeddings.

They are no method of the registry: nothing is trained here, and the common space is their own.
"""

# Nothing postpones annotations here: `@strict` checks types only where they are types, not strings.

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from cmr_hub.processing.processing_cmr import CMRProcessor

from .auto_classes import register_auto_classes
from .configuration_cmr import CMRConfig
from .modeling_cmr import CMRModel


@strict
class DualEncoderConfig(CMRConfig):
    r"""Configuration of [`DualEncoderModel`].

    The three widths of `CMRConfig` are one: a dual encoder's features already are embeddings of the common space.

    Example:
    ```python
    >>> from cmr_hub.modeling.dual_encoder import DualEncoderConfig, DualEncoderModel
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
