"""What every frozen encoder is: a function from the raw inputs of one modality to feature vectors."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch


class Encoder(ABC):
    """A frozen encoder. It never trains with a method; a processor saves it beside the method's weights.

    Attributes:
        name: what users call it ("efficientnet-lite0", "glove" …); `create_encoder` finds it by this name.
        modality: "image" or "text".
        dim: width of the feature vectors, known before the first input is encoded (after `fit`, where it fits).
    """

    name: str
    modality: ClassVar[Literal["image", "text"]]
    dim: int

    @abstractmethod
    def encode(self, inputs: Sequence[Any]) -> torch.Tensor:
        """Encode a batch.

        Args:
            inputs: `n` pictures (paths, PIL images or arrays) or `n` texts (strings).

        Returns:
            `torch.float32` tensor of shape `(n, dim)` on the CPU, rows in the order of `inputs`.

        Raises:
            InputError: an input cannot be used; the message names its position in `inputs` and the reason.
            NotFittedError: the encoder learns a vocabulary and has not seen any texts yet.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Everything but arrays that `from_dict` needs, as JSON values; the key "name" leads to the class."""

    @classmethod
    @abstractmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Encoder:
        """The encoder that `to_dict` described; arrays are read from the files that `save_files` left in `folder`."""

    def save_files(self, folder: Path) -> None:
        """Write fitted arrays and vocabularies (safetensors, JSON) into `folder`. Most encoders have none."""

    @property
    def fingerprint(self) -> str:
        """A short digest of what decides this encoder's output; features are cached under it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


class ImageEncoder(Encoder):
    """Pictures to vectors."""

    modality = "image"


class TextEncoder(Encoder):
    """Texts to vectors. A text without any known word has the zero vector (and `knows` says so)."""

    modality = "text"

    def fit(self, texts: Sequence[str]) -> TextEncoder:
        """Learn a vocabulary from training texts; encoders that need none return themselves unchanged."""
        return self

    def knows(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether at least one of its words has a meaning to this encoder."""
        return [bool(text.strip()) for text in texts]
