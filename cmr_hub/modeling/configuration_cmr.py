"""What the configuration of every method shares."""

# Configurations postpone no annotations: `@strict` checks types only where they are types, not strings.

import math
from dataclasses import fields
from typing import TYPE_CHECKING

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .checked_config import CheckedConfig


@strict
class CMRConfig(CheckedConfig):
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
        for name in self.own_fields():
            if isinstance(value := getattr(self, name), float) and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, and is {value}.")

    @classmethod
    def own_fields(cls) -> list[str]:
        """Names that a recipe or a flag may set: the method's fields, without those that transformers adds."""
        inherited = {field.name for field in fields(PreTrainedConfig)}
        return [field.name for field in fields(cls) if field.name not in inherited]
