"""Contrastive: two towers trained by symmetric InfoNCE on pairs alone (Radford et al., ICML 2021)."""

from .configuration_contrastive import ContrastiveConfig
from .modeling_contrastive import ContrastiveModel

__all__ = ["ContrastiveConfig", "ContrastiveModel"]
