from .configuration_lssh import LSSHConfig
from .modeling_lssh import LSSHModel

__all__ = ["LSSHConfig", "LSSHModel"]
