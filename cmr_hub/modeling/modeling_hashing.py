"""Bases of hashing methods: `HashingMixin` for all of them, `LinearHashModel` for linear closed forms."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch

from . import codes
from .configuration_hashing import HashingConfig
from .embeddings import Representation
from .modeling_cmr import ClosedFormCMRModel


class HashingMixin:
    """What makes a method a hashing method: its embeddings are the signs of what it computes, packed into bytes.

    It comes before the base class: `class DCMHModel(HashingMixin, CMRModel)`. Its configuration is a
    [`HashingConfig`].
    """

    is_hashing: ClassVar[bool] = True
    representation: ClassVar[Representation] = "binary"
    config_class = HashingConfig

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if not issubclass(cls.config_class, HashingConfig):
            raise TypeError(f"{cls.__name__} gives codes: its config_class must be a HashingConfig.")
        super().__init_subclass__(**kwargs)

    def as_embeddings(self, features: torch.Tensor) -> np.ndarray:
        """Signs of `(n, embed_dim)` values of the common space as `(n, embed_dim // 8)` uint8 codes."""
        return codes.pack(features)


class LinearHashModel(HashingMixin, ClosedFormCMRModel, abstract=True):
    """One hyperplane per bit and modality: the code of x is the sign of x W + b.

    A method gives `_hyperplanes`.
    """

    config_class = HashingConfig
    config: HashingConfig
    image_weight: torch.Tensor
    image_bias: torch.Tensor
    text_weight: torch.Tensor
    text_bias: torch.Tensor

    def __init__(self, config: HashingConfig):
        super().__init__(config)
        for modality, dim in (("image", config.image_dim), ("text", config.text_dim)):
            self.register_buffer(f"{modality}_weight", torch.zeros(dim, config.embed_dim))
            self.register_buffer(f"{modality}_bias", torch.zeros(config.embed_dim))
        self.post_init()

    @abstractmethod
    def _hyperplanes(
        self, image_features: torch.Tensor, text_features: torch.Tensor, labels: Any
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """(W, b) of the images and (W, b) of the texts, `(dim, bits)` and `(bits,)`, from what `_solve` gets."""

    def _solve(self, image_features: torch.Tensor, text_features: torch.Tensor, labels: Any) -> None:
        planes = self._hyperplanes(image_features, text_features, labels)
        for modality, (weight, bias) in zip(("image", "text"), planes, strict=True):
            getattr(self, f"{modality}_weight").copy_(weight)
            getattr(self, f"{modality}_bias").copy_(bias)

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        return image_features @ self.image_weight + self.image_bias

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        return text_features @ self.text_weight + self.text_bias
