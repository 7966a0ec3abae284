"""SH: spectral hashing of canonical variates (Weiss et al., NIPS 2008)."""

from .configuration_sh import SHConfig
from .modeling_sh import SHModel

__all__ = ["SHConfig", "SHModel"]
