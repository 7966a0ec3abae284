"""Unified: one embedding of a class part and an item part, which a focus weighs in queries."""

from .configuration_unified import UnifiedConfig
from .modeling_unified import UnifiedModel

__all__ = ["UnifiedConfig", "UnifiedModel"]
