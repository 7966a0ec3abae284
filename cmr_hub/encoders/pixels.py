"""The image itself, for methods that bring a convolutional network of their own and train it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import nn

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import InputError

from .backbone import BackboneEncoder
from .backends import Inputs
from .squares import squeeze


@register_encoder("image", "pixels")
class PixelsEncoder(BackboneEncoder):
    """Pixels of the whole image at one size, from -1 (black) to 1 (white), as one flat vector: channel, row, column.

    An image that is not square is squeezed, not cropped. `n` of them take 12 * size * size * n bytes.

    Args:
        size: height and width.

    Raises:
        InputError: `size` is no whole number from 1.

    Example:
    ```python
    >>> PixelsEncoder(size=2).encode([Image.new("RGB", (30, 20), "red")]).reshape(3, 2, 2)[:, 0, 0].tolist()
    [1.0, -1.0, -1.0]
    ```
    """

    cacheable = False  # reading them again is as fast as reading the image

    dim: int

    def __init__(self, size: int = 224):
        if not isinstance(size, int) or size < 1:
            raise InputError(f"pixels' size must be a whole number from 1, and is {size!r}.")
        self.size, self.dim, self.min_side = size, 3 * size * size, 2 * size

    def _build_network(self) -> nn.Module:
        return nn.Identity()

    def _example_inputs(self, count: int) -> Inputs:
        return ()  # there is nothing to compute

    def _preprocess(self, images: list[Image.Image]) -> torch.Tensor:
        values = np.divide(squeeze(images, self.size), 127.5, dtype=np.float32)
        values -= 1
        return torch.from_numpy(values).permute(0, 3, 1, 2)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "modality": self.modality, "size": self.size}

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        return cls(config["size"])
