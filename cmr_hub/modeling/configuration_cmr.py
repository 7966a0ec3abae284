"""What the configuration of every method shares."""

# Configurations postpone no annotations: `@strict` checks types only where they are types, not strings.

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from cmr_hub.errors import CheckpointError


@strict
class CMRConfig(PreTrainedConfig):
    r"""Base configuration of every method.

    Args:
        image_dim (`int`, defaults to 1280):
            Width of the image feature vectors that the model eats.
        text_dim (`int`, defaults to 50):
            Width of the text feature vectors that the model eats.
        embed_dim (`int`, defaults to 1024):
            Width of the common space.

    Classes are the ecosystem's own `num_labels`, `id2label` and `label2id`.
    """

    image_dim: int = 1280
    text_dim: int = 50
    embed_dim: int = 1024

    if TYPE_CHECKING:  # transformers says that these may be None, which they are only until it has set them up
        num_labels: int = 2
        id2label: dict[int, str] = {}

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        for name in ("image_dim", "text_dim", "embed_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}.")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> "CMRConfig":
        """As `PreTrainedConfig.from_dict`, but the configuration of another method is an error, not a warning.

        Raises:
            CheckpointError: `model_type` names another method.
        """
        found = config_dict.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise CheckpointError(
                f"This checkpoint is of the method {found!r}, not {cls.model_type!r}. "
                "cmr_hub.from_pretrained and transformers' AutoModel pick the right class by themselves."
            )
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def own_fields(cls) -> list[str]:
        """Names that a recipe or a flag may set: the method's fields, without those that transformers adds."""
        inherited = {field.name for field in fields(PreTrainedConfig)}
        return [field.name for field in fields(cls) if field.name not in inherited]
