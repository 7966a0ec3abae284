"""Bimodal autoencoder configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig


@strict
class DAEConfig(CMRConfig):
    r"""Configuration of [`DAEModel`].

    Args:
        embed_dim (`int`, defaults to 64):
            Width of the bottleneck that both sides share.
        hidden_dim (`int`, defaults to 512):
            Width of each side's own layer, below the bottleneck and above it.

    Example:
    ```python
    >>> from cmr_hub import DAEConfig, DAEModel
    >>> model = DAEModel(DAEConfig(image_dim=128, text_dim=10, hidden_dim=256))
    ```
    """

    model_type = "dae"

    embed_dim: int = 64
    hidden_dim: int = 512

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, and is {self.hidden_dim}.")
