from .configuration_stmh import STMHConfig
from .modeling_stmh import STMHModel

__all__ = ["STMHConfig", "STMHModel"]
