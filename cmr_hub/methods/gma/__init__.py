"""GMA: generalised multiview analysis (Sharma et al., CVPR 2012)."""

from .configuration_gma import GMAConfig
from .modeling_gma import GMAModel

__all__ = ["GMAConfig", "GMAModel"]
