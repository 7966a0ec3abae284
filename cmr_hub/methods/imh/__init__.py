"""IMH: inter-media hashing (Song et al., SIGMOD 2013)."""

from .configuration_imh import IMHConfig
from .modeling_imh import IMHModel

__all__ = ["IMHConfig", "IMHModel"]
