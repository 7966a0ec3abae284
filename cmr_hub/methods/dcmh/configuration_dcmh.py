"""DCMH configuration."""

from math import isqrt
from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig

from .cnn_f import LEAST_SIZE


@strict
class DCMHConfig(HashingConfig):
    r"""Configuration of [`DCMHModel`].

    Args:
        image_network (`str`, defaults to `"mlp"`):
            `"mlp"`, two layers on image features of any encoder, or `"cnn_f"`, the paper's convolutional network, on
            the pixels that the encoder "pixels" gives: `image_dim` is then 3 x size x size.
        image_hidden_dim (`int`, defaults to 4096):
            Width of the hidden layer of `"mlp"`; the paper's image network has layers of this width below the last.
        text_hidden_dim (`int`, defaults to 8192):
            Width of the text network's hidden layer.
        gamma (`float`, defaults to 1.0):
            Weight of the quantisation term.
        eta (`float`, defaults to 1.0):
            Weight of the balance term.

    Example:
    ```python
    >>> from cmr_hub import DCMHConfig, DCMHModel
    >>> config = DCMHConfig(image_dim=128, text_dim=10, num_labels=10, embed_dim=32)
    >>> model = DCMHModel(config)
    ```
    """

    model_type = "dcmh"

    image_network: Literal["mlp", "cnn_f"] = "mlp"
    image_hidden_dim: int = 4096
    text_hidden_dim: int = 8192
    gamma: float = 1.0
    eta: float = 1.0

    @property
    def image_size(self) -> int:
        """Height and width of the images whose flat pixels are `image_dim` wide, for `"cnn_f"`."""
        return isqrt(self.image_dim // 3)

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        for name in ("image_hidden_dim", "text_hidden_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}.")
        for name in ("gamma", "eta"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}.")
        size = self.image_size
        if self.image_network == "cnn_f" and (3 * size**2 != self.image_dim or size < LEAST_SIZE):
            raise ValueError(
                f"cnn_f takes the pixels of square images, {LEAST_SIZE} x {LEAST_SIZE} at least: image_dim must be "
                f"3 * size * size (150528 for size 224), and is {self.image_dim}. Choose the image encoder 'pixels'."
            )
