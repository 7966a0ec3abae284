from .configuration_udcmh import UDCMHConfig
from .modeling_udcmh import UDCMHModel

__all__ = ["UDCMHConfig", "UDCMHModel"]
