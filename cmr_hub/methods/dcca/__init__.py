from .configuration_dcca import DCCAConfig
from .modeling_dcca import DCCAModel

__all__ = ["DCCAConfig", "DCCAModel"]
