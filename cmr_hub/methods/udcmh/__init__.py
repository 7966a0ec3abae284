"""UDCMH: unsupervised deep cross-modal hashing (Wu et al., IJCAI 2018)."""

from .configuration_udcmh import UDCMHConfig
from .modeling_udcmh import UDCMHModel

__all__ = ["UDCMHConfig", "UDCMHModel"]
