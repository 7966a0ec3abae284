"""Tell one input from a list of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import torch

from cmr_hub.encoders.backbone import ONE_IMAGE
from cmr_hub.encoders.base import Encoder
from cmr_hub.errors import InputError


def is_single(inputs: Any, encoder: Encoder) -> bool:
    """Whether these are one image, text or row of features, and not several.

    Example:
    ```python
    >>> from cmr_hub.encoders import create_encoder
    >>> encoder = create_encoder("image", "pixels")
    >>> is_single("cat.png", encoder), is_single(np.zeros((8, 8, 3)), encoder), is_single(["cat.png"], encoder)
    (True, True, False)
    ```
    """
    is_raw_image = encoder.modality == "image" and encoder.accepts_raw_input
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "USO" and inputs.ndim:  # of strings
        return False
    if isinstance(inputs, np.ndarray | torch.Tensor):
        return inputs.ndim < (4 if is_raw_image else 2) and 0 not in inputs.shape
    return isinstance(inputs, ONE_IMAGE if is_raw_image else str | os.PathLike)


def as_list(inputs: Any, encoder: Encoder) -> Any:
    """Several inputs of an encoder: as they are, or as a list where they come one by one, as from a generator.

    Raises:
        InputError: a single input, whose parts would be taken for several, or something else.
    """
    if is_single(inputs, encoder) or not isinstance(inputs, Iterable):
        raise InputError(
            f"{encoder.modality.capitalize()}s come as a list: give [{encoder.modality}] for a single one, not a "
            f"{type(inputs).__name__}."
        )
    if isinstance(inputs, Mapping | Set):
        raise InputError(
            f"{encoder.modality.capitalize()}s come as a list, in order, and not as a {type(inputs).__name__}."
        )
    is_of_numbers = isinstance(inputs, torch.Tensor) or (
        isinstance(inputs, np.ndarray) and inputs.dtype.kind not in "USO"
    )
    if hasattr(inputs, "tolist") and not is_of_numbers:  # columns of pandas count by position
        return inputs.tolist()
    return inputs if hasattr(inputs, "__getitem__") else list(inputs)
