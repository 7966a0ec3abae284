"""STMH: semantic topic multimodal hashing (Wang et al., IJCAI 2015)."""

from .configuration_stmh import STMHConfig
from .modeling_stmh import STMHModel

__all__ = ["STMHConfig", "STMHModel"]
