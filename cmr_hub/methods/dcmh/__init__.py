"""DCMH: deep cross-modal hashing (Jiang and Li, CVPR 2017)."""

from .configuration_dcmh import DCMHConfig
from .modeling_dcmh import DCMHModel

__all__ = ["DCMHConfig", "DCMHModel"]
