from .configuration_cvh import CVHConfig
from .modeling_cvh import CVHModel

__all__ = ["CVHConfig", "CVHModel"]
