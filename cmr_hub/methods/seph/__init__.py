"""SePH: semantics-preserving hashing (Lin et al., CVPR 2015)."""

from .configuration_seph import SePHConfig
from .modeling_seph import SePHModel

__all__ = ["SePHConfig", "SePHModel"]
