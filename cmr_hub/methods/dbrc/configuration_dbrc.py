"""DBRC configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig


@strict
class DBRCConfig(HashingConfig):
    r"""Configuration of [`DBRCModel`].

    Args:
        embed_dim (`int`, defaults to 64):
            Code length in bits, a multiple of 8 from 8 to 256.
        hidden_dim (`int`, defaults to 512):
            Width of the layer below each binary layer and of the one in each decoder.
        sharpness_weight (`float`, defaults to 0.1):
            Weight of the penalty 1 / alpha^2, which keeps the adaptive tanh from staying flat.
        hash_weight (`float`, defaults to 10.0):
            Weight of the regression of each side's hash function to the joint code.

    Example:
    ```python
    >>> from cmr_hub import DBRCConfig, DBRCModel
    >>> model = DBRCModel(DBRCConfig(image_dim=128, text_dim=10, embed_dim=32))
    ```
    """

    model_type = "dbrc"

    hidden_dim: int = 512
    sharpness_weight: float = 0.1
    hash_weight: float = 10.0

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, and is {self.hidden_dim}.")
        for name in ("sharpness_weight", "hash_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}.")
