from .configuration_imh import IMHConfig
from .modeling_imh import IMHModel

__all__ = ["IMHConfig", "IMHModel"]
