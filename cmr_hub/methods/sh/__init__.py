from .configuration_sh import SHConfig
from .modeling_sh import SHModel

__all__ = ["SHConfig", "SHModel"]
