"""DJSRH configuration."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig


@strict
class DJSRHConfig(HashingConfig):
    r"""Configuration of [`DJSRHModel`].

    Args:
        embed_dim (`int`, defaults to 64):
            Code length in bits, a multiple of 8 from 8 to 256.
        hidden_dim (`int`, defaults to 4096):
            Width of the hidden layer of TxtNet.
        beta (`float`, defaults to 0.3):
            Share of the images' cosines in the joint affinity, from 0 to 1; the texts' have the rest.
        eta (`float`, defaults to 0.4):
            Share of the second-order affinity (who is alike to the same items), from 0 to 1.
        mu (`float`, defaults to 1.5):
            Scale of the affinity that the codes reconstruct.
        lambda1, lambda2 (`float`, defaults to 0.3):
            Weights of the reconstruction among images, and among texts; that between images and texts weighs 1.
        affinity (`str`, defaults to `"rescaled"`):
            What an entry of S_I and S_T is: `"rescaled"` is 2 cos - 1, which spreads the cosines of features without
            negative values over [-1, 1]; `"plain"` is the cosine; `"centred"` the cosine after the training mean is
            taken off.

    Example:
    ```python
    >>> from cmr_hub import DJSRHConfig, DJSRHModel
    >>> model = DJSRHModel(DJSRHConfig(image_dim=128, text_dim=10, embed_dim=32, hidden_dim=512))
    ```
    """

    model_type = "djsrh"

    hidden_dim: int = 4096
    beta: float = 0.3
    eta: float = 0.4
    mu: float = 1.5
    lambda1: float = 0.3
    lambda2: float = 0.3
    affinity: Literal["rescaled", "plain", "centred"] = "rescaled"

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, and is {self.hidden_dim}.")
        for name in ("beta", "eta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, from 0 to 1, and is {getattr(self, name)}.")
        for name in ("mu", "lambda1", "lambda2"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}.")
