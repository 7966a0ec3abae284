from .configuration_dcmh import DCMHConfig
from .modeling_dcmh import DCMHModel

__all__ = ["DCMHConfig", "DCMHModel"]
