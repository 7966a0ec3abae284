"""Unified-Hash: binary codes of a block of class bits and a block of item bits."""

from .configuration_unified_hash import UnifiedHashConfig
from .modeling_unified_hash import UnifiedHashModel

__all__ = ["UnifiedHashConfig", "UnifiedHashModel"]
