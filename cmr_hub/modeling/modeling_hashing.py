"""What hashing methods share: their embeddings are codes, and many of them are linear."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch

from .configuration_hashing import HashingConfig
from .modeling_cmr import ClosedFormCMRModel


class LinearHashModel(ClosedFormCMRModel):
    """One hyperplane a bit and a side: the code of x is the sign of x W + b.

    A method gives `_hyperplanes`.
    """

    representation: ClassVar[Literal["real-valued", "binary"]] = "binary"
    config_class = HashingConfig
    config: HashingConfig

    def __init__(self, config: HashingConfig):
        super().__init__(config)
        for modality, dim in (("image", config.image_dim), ("text", config.text_dim)):
            self.register_buffer(f"{modality}_weight", torch.zeros(dim, config.embed_dim))
            self.register_buffer(f"{modality}_bias", torch.zeros(config.embed_dim))
        self.post_init()

    @abstractmethod
    def _hyperplanes(
        self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """(W, b) of the images and (W, b) of the texts, `(dim, bits)` and `(bits,)`, from what `_solve` gets."""

    def _solve(self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None) -> None:
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
