"""Features that were computed elsewhere: nothing is encoded, but everything is checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import torch

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import InputError, UnknownNameError

from .base import Encoder


@register_encoder("image", "precomputed")
@register_encoder("text", "precomputed")
class PrecomputedEncoder(Encoder):
    """Takes feature vectors instead of images or texts, as checkpoints on a data set's released features need.

    Args:
        modality: whose features they are, "image" or "text".
        dim: their width.
        description: what they are, in words for people ("SIFT bag of visual words, 128-d").
        transform: "hellinger" takes the square root of histograms, under which their inner product is a similarity of
            distributions (Arandjelović & Zisserman, CVPR 2012); "none" leaves the vectors as they are.

    Example:
    ```python
    >>> PrecomputedEncoder("text", 2, "LDA topics").encode([[0.25, 0.75]]).tolist()
    [[0.25, 0.75]]
    ```
    """

    accepts_raw_input = False
    dim: int

    def __init__(
        self,
        modality: Literal["image", "text"],
        dim: int,
        description: str = "",
        transform: Literal["none", "hellinger"] = "none",
    ):
        if transform not in ("none", "hellinger"):
            raise UnknownNameError("transform", transform, ("none", "hellinger"))
        self.modality, self.dim, self.description, self.transform = modality, dim, description, transform

    @classmethod
    def from_name(cls, name: str, modality: str, **options: Any) -> Self:
        return cls(cast(Literal["image", "text"], modality), **options)

    def encode(self, inputs: np.ndarray | torch.Tensor | Sequence[Sequence[float]]) -> torch.Tensor:
        """Check feature vectors.

        Args:
            inputs: `(n, dim)` array or tensor, or a list of `n` vectors.

        Returns:
            The same as a `torch.float32` tensor of shape `(n, dim)` on the CPU.

        Raises:
            InputError: raw images or texts, another width, or a row with NaN or infinity (it is named).
        """
        if isinstance(inputs, torch.Tensor):
            inputs = inputs.detach().cpu().float()
        if len(inputs) == 0:
            return torch.empty(0, self.dim)
        try:
            features = np.array([np.asarray(row, np.float32) for row in inputs])
        except (TypeError, ValueError) as error:
            raise self._refusal(_what_it_is(inputs)) from error
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise self._refusal(f"an array of shape {features.shape}")
        broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(broken):
            raise InputError(
                f"row {broken[0] + 1} of {len(features)} of the {self.modality} features holds NaN or infinity "
                f"({len(broken)} such rows). Remove or repair them."
            )
        if self.transform == "hellinger":
            negative = np.flatnonzero((features < 0).any(axis=1))
            if len(negative):
                raise InputError(
                    f"row {negative[0] + 1} of {len(features)} of the {self.modality} features holds a negative "
                    "value, and this checkpoint takes histograms."
                )
            features = np.sqrt(features)
        return torch.from_numpy(features)

    def _refusal(self, given: str) -> InputError:
        what = f" ({self.description})" if self.description else ""
        return InputError(
            f"this checkpoint takes released {self.modality} features, an array of shape (n, {self.dim}){what}, and "
            f"was given {given}. For raw images and texts choose a checkpoint with encoders of its own."
        )

    def fit(self, texts: Sequence[Any]) -> Self:
        """Nothing is learned."""
        return self

    def has_known_tokens(self, texts: Sequence[Any]) -> list[bool]:
        """For each vector whether it is not the zero vector."""
        return self.encode(texts).any(dim=1).tolist()

    def to_dict(self) -> dict[str, Any]:
        options = {"dim": self.dim, "description": self.description, "transform": self.transform}
        return {"name": self.name, "modality": self.modality, **options}

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        return cls(config["modality"], config["dim"], config["description"], config["transform"])


def _what_it_is(inputs: Any) -> str:
    if isinstance(inputs, str):
        return "a text or path"
    kinds = sorted({type(item).__name__ for item in inputs})
    return f"vectors of different lengths, or no numbers (items of type {', '.join(kinds)})"
