"""Images as squares of one size, as networks take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image


def squeeze(images: Sequence[Image.Image], side: int) -> np.ndarray:
    """The whole images, not cropped, as squares: `(n, side, side, 3)` of the images' `uint8`, by bicubic resizing.

    Example:
    ```python
    >>> squeeze([Image.new("RGB", (30, 20), "red")], side=2).shape
    (1, 2, 2, 3)
    ```
    """
    return np.stack([np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)) for image in images])


def centre_square(image: Image.Image, size: int, share: float) -> Image.Image:
    """The centre square with this share of the shorter side, resized to `(size, size)` by bicubic interpolation."""
    width, height = image.size
    side = min(width, height) * share
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
