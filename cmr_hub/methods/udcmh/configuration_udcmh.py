"""UDCMH configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig


@strict
class UDCMHConfig(HashingConfig):
    r"""Configuration of [`UDCMHModel`].

    Args:
        embed_dim (`int`, defaults to 64):
            Code length in bits, a multiple of 8 from 8 to 256.
        hidden_dim (`int`, defaults to 512):
            Width of the hidden layer of each side's network.
        neighbours (`int`, defaults to 10):
            How many nearest, and how many farthest, items of each item the Laplacian terms know.
        laplacian_weight (`float`, defaults to 0.3):
            Weight of the Laplacian terms against the factorisation.
        network_weight (`float`, defaults to 1.0):
            Weight of the networks' outputs in the codes.
        ridge (`float`, defaults to 0.01):
            Weight of the factors' squared norm, a training item.
        side_power (`float`, defaults to 2.0):
            Power of the sides' weights, above 1: near 1 the side that is told best has all the weight, a large one
            makes both weigh the same.

    Example:
    ```python
    >>> from cmr_hub import UDCMHConfig, UDCMHModel
    >>> model = UDCMHModel(UDCMHConfig(image_dim=128, text_dim=10, embed_dim=32))
    ```
    """

    model_type = "udcmh"

    hidden_dim: int = 512
    neighbours: int = 10
    laplacian_weight: float = 0.3
    network_weight: float = 1.0
    ridge: float = 0.01
    side_power: float = 2.0

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        for name in ("hidden_dim", "neighbours"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}.")
        for name in ("laplacian_weight", "network_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}.")
        if self.ridge <= 0:
            raise ValueError(f"ridge must be above 0, and is {self.ridge}.")
        if self.side_power <= 1:
            raise ValueError(f"side_power must be above 1, and is {self.side_power}.")
