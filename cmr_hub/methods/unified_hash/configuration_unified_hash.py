"""Unified-Hash configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig
from cmr_hub.modeling.configuration_parts import TwoPartConfig


@strict
class UnifiedHashConfig(TwoPartConfig, HashingConfig):
    r"""Configuration of [`UnifiedHashModel`]; see [`TwoPartConfig`] for the other fields.

    Half of the bits are the class block, the other half the item block.

    Args:
        embed_dim (`int`, defaults to 64):
            Code length in bits, a multiple of 8 from 8 to 256.
        class_scale (`float`, defaults to 4.0):
            What the classifier's outputs are multiplied by, so that few bits can be sure of a class.
        likelihood_weight (`float`, defaults to 3.0):
            Weight of the pairwise likelihood of class blocks; 0 leaves it out.
        similarity_scale (`float`, defaults to 8.0), similarity_margin (`float`, defaults to 0.25):
            It takes scale * (cosine - margin) for the log-odds that two items share a class.

    Example:
    ```python
    >>> from cmr_hub import UnifiedHashConfig, UnifiedHashModel
    >>> model = UnifiedHashModel(UnifiedHashConfig(image_dim=128, text_dim=10, embed_dim=64, num_labels=10))
    >>> model.config.class_dim, model.config.item_dim
    (32, 32)
    ```
    """

    model_type = "unified_hash"

    embed_dim: int = 64
    class_scale: float = 4.0
    likelihood_weight: float = 3.0
    similarity_scale: float = 8.0
    similarity_margin: float = 0.25

    @property
    def class_dim(self) -> int:
        """Number of class bits, which come first; 0 where there are none."""
        return self.embed_dim // 2 if self.has_class_part and self.separate_parts else 0

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        for name in ("class_scale", "similarity_scale"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, and is {getattr(self, name)}.")
        if self.likelihood_weight < 0:
            raise ValueError(f"likelihood_weight must not be negative, and is {self.likelihood_weight}.")
