"""Base of methods whose embeddings have two parts: one learns the class, one the very item."""

from __future__ import annotations

import math
from abc import abstractmethod
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from cmr_hub.errors import InputError

from .configuration_parts import TwoPartConfig
from .losses import classification_loss, inverse_temperature, pair_logits, symmetric_info_nce
from .modeling_cmr import CMRModel, CMROutput
from .parts import focused

Embedded = tuple[torch.Tensor, torch.Tensor | None]  # embeddings, and class logits where there are any


def make_tower(features_dim: int, hidden_dim: int, dim: int, dropout: float) -> nn.Sequential:
    """From features to `dim` values: one hidden layer, or none where `hidden_dim` is 0."""
    layers: list[nn.Module] = [nn.LayerNorm(features_dim), nn.Dropout(dropout)]
    if hidden_dim:
        layers += [nn.Linear(features_dim, hidden_dim), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden_dim or features_dim, dim))


class TwoPartModel(CMRModel, abstract=True):
    """Embeddings of a class part and an item part, from towers that share nothing.

    Above the class towers is one classifier for both modalities. A method gives `_class_part` and `_item_part`, and
    the width of what the classifier takes, `_classifier_dim`.

    Labels are optional: without them the configuration has no class part (`has_class_part=False`), and the item part
    learns alone.
    """

    supervision = "supervised"
    has_focus: ClassVar[bool] = True
    unlabelled_settings = MappingProxyType({"has_class_part": False, "separate_parts": True})
    config_class = TwoPartConfig
    config: TwoPartConfig

    def __init__(self, config: TwoPartConfig):
        super().__init__(config)
        for modality, dim in (("image", config.image_dim), ("text", config.text_dim)):
            if config.class_dim:
                tower = make_tower(dim, config.class_hidden_dim, self._classifier_dim, config.class_dropout)
                self.add_module(f"{modality}_class_tower", tower)
            if config.item_dim:
                tower = make_tower(dim, config.item_hidden_dim, config.item_dim, config.item_dropout)
                self.add_module(f"{modality}_item_tower", tower)
        if config.has_class_part:
            self.classifier = nn.Linear(self._classifier_dim, config.num_labels)
        if config.item_dim:
            self.log_scale = nn.Parameter(torch.tensor(-math.log(config.initial_temperature)))
        self.post_init()

    @property
    @abstractmethod
    def _classifier_dim(self) -> int:
        """Width of what the classifier takes: of the class towers, or without separate parts of the embedding."""

    @abstractmethod
    def _class_part(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The class part `(n, class_dim)` and class logits `(n, num_labels)` from what a class tower gives."""

    @abstractmethod
    def _item_part(self, values: torch.Tensor) -> torch.Tensor:
        """The item part from what an item tower gives, both `(n, item_dim)`."""

    @property
    def accepts_focus(self) -> bool:
        return 0 < self.config.class_dim < self.config.embed_dim

    def with_focus(self, embeds: np.ndarray, focus: float) -> np.ndarray:
        if not self.accepts_focus:
            raise InputError(
                f"This {self.config.model_type} checkpoint has one part, and a focus weighs two: it was trained with "
                "one of them alone, or with one embedding for both. Leave the focus out."
            )
        width = self.config.embed_dim
        shape = (width // 8,) if getattr(embeds, "dtype", None) == np.uint8 else (width,)
        if not isinstance(embeds, np.ndarray) or embeds.ndim != 2 or embeds.shape[1:] != shape:
            given = f"of shape {embeds.shape}" if isinstance(embeds, np.ndarray) else f"a {type(embeds).__name__}"
            raise InputError(
                f"embeds must be an array (n, {shape[0]}) of this checkpoint's embeddings, and is {given}."
            )
        return focused(embeds, self.config.class_dim, focus)

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self._embed("image", image_features)[0]

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self._embed("text", text_features)[0]

    def embed(
        self, image_features: torch.Tensor | None = None, text_features: torch.Tensor | None = None
    ) -> CMROutput:
        """Embed and classify whichever modalities are given.

        Args:
            image_features: `(n, image_dim)` float tensor.
            text_features: `(n, text_dim)` float tensor.
        """
        image = (None, None) if image_features is None else self._embed("image", image_features)
        text = (None, None) if text_features is None else self._embed("text", text_features)
        return CMROutput(image_embeds=image[0], text_embeds=text[0], image_logits=image[1], text_logits=text[1])

    def _embed(self, modality: str, features: torch.Tensor) -> Embedded:
        parts, logits = [], None
        if self.config.class_dim:
            part, logits = self._class_part(self.get_submodule(f"{modality}_class_tower")(features))
            parts.append(part)
        if self.config.item_dim:
            parts.append(self._item_part(self.get_submodule(f"{modality}_item_tower")(features)))
        if not self.config.separate_parts:
            logits = self.classifier(parts[0])
        return torch.cat(parts, dim=1), logits

    def compute_loss(
        self, output: CMROutput, labels: torch.Tensor | None = None, matching: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The losses of both parts; none without labels where there is a class part.

        Args:
            output: of a batch of pairs.
            labels: `(n, num_labels)` multi-hot.
            matching: `(n, n)` booleans, which text describes which image; by default text i describes image i alone.
                Another text of an image, and one that stands word for word under it too, are no wrong answers.
        """
        terms: dict[str, torch.Tensor] = {}
        if self.config.has_class_part:
            if labels is None:
                return {}
            terms |= self._class_terms(output, labels)
        if self.config.item_dim:
            image, text = (embeds[:, self.config.class_dim :] for embeds in output.embeds)
            terms |= self._item_terms(image, text, matching)
        return terms

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"class": self.config.class_weight, "image_to_text": 0.5, "text_to_image": 0.5}

    def _class_terms(self, output: CMROutput, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cross-entropy of both modalities' classes."""
        return {"class": classification_loss(*output.logits, labels)}

    def _item_terms(
        self, image: torch.Tensor, text: torch.Tensor, matching: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """InfoNCE in both directions, from the `(n, item_dim)` item parts of both modalities."""
        logits = pair_logits(image, text, inverse_temperature(self.log_scale, training=self.training))
        return symmetric_info_nce(logits, matching, self.config.hardness)

    def check_labels(self, labels: torch.Tensor | None) -> None:
        if not self.config.has_class_part:
            return
        if labels is None:
            raise InputError(
                f"The class part of {self.config.model_type} learns from classes, and the training data have no label "
                "column: set has_class_part=False to train the item part alone."
            )
        super().check_labels(labels)
