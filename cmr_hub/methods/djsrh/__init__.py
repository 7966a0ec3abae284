from .configuration_djsrh import DJSRHConfig
from .modeling_djsrh import DJSRHModel

__all__ = ["DJSRHConfig", "DJSRHModel"]
