"""Unified: class probabilities and an item vector in one embedding, a method of cmr_hub's own."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_cmr import unit_rows
from cmr_hub.modeling.modeling_parts import TwoPartModel
from cmr_hub.modeling.parts import balanced

from .configuration_unified import UnifiedConfig


@register_method("unified", display_order=5)
class UnifiedModel(TwoPartModel):
    """Class probabilities and an item vector, each of unit length; a query weighs them, from kind to very thing."""

    title = "Unified"
    paper = "cmr_hub, class probabilities and InfoNCE in one embedding, 2026"
    supervision = "supervised"
    representation = "real-valued"
    config_class = UnifiedConfig
    config: UnifiedConfig

    @property
    def _classifier_dim(self) -> int:
        return self.config.classifier_dim if self.config.separate_parts else self.config.embed_dim

    def _class_part(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.classifier(values)
        return F.normalize((logits / self.config.class_temperature).softmax(dim=1), dim=1), logits

    def _item_part(self, values: torch.Tensor) -> torch.Tensor:
        return F.normalize(values, dim=1)

    def as_embeddings(self, features: torch.Tensor) -> np.ndarray:
        """`(n, embed_dim)` float32 rows of unit length, whose two parts are of one length."""
        rows = unit_rows(features)
        return balanced(rows, self.config.class_dim) if self.accepts_focus else rows
