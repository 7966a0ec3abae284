from .configuration_klsh import KLSHConfig
from .modeling_klsh import KLSHModel

__all__ = ["KLSHConfig", "KLSHModel"]
