"""Unified-Hash: a block of class bits and a block of item bits in one code, a method of cmr_hub's own."""

from __future__ import annotations

import torch

from cmr_hub.methods import register_method
from cmr_hub.modeling.losses import likelihood_loss, straight_through_signs
from cmr_hub.modeling.modeling_cmr import CMROutput
from cmr_hub.modeling.modeling_hashing import HashingMixin
from cmr_hub.modeling.modeling_parts import TwoPartModel

from .configuration_unified_hash import UnifiedHashConfig


@register_method("unified_hash", display_order=155)
class UnifiedHashModel(HashingMixin, TwoPartModel):
    """Unified as a binary code: both losses see the signs, with the gradient of what they are the signs of."""

    title = "Unified-Hash"
    paper = "cmr_hub, Unified with binary codes, 2026"
    supervision = "supervised"
    representation = "binary"
    config_class = UnifiedHashConfig
    config: UnifiedHashConfig

    @property
    def _classifier_dim(self) -> int:
        return self.config.class_dim if self.config.separate_parts else self.config.embed_dim

    def _class_part(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        bits = values.tanh()
        return bits, self.config.class_scale * self.classifier(straight_through_signs(bits))

    def _item_part(self, values: torch.Tensor) -> torch.Tensor:
        return values.tanh()

    @property
    def loss_weights(self) -> dict[str, float]:
        return {**super().loss_weights, "likelihood": self.config.class_weight * self.config.likelihood_weight}

    def _class_terms(self, output: CMROutput, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cross-entropy of the classes, and likelihood that two items share a class."""
        terms, config = super()._class_terms(output, labels), self.config
        if config.likelihood_weight:
            image, text = (embeds[:, : self._classifier_dim] for embeds in output.embeds)
            terms["likelihood"] = likelihood_loss(
                image, text, labels, config.similarity_scale, config.similarity_margin
            )
        return terms

    def _item_terms(
        self, image: torch.Tensor, text: torch.Tensor, matching: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        return super()._item_terms(straight_through_signs(image), straight_through_signs(text), matching)
