"""LSSH: latent semantic sparse hashing (Zhou et al., SIGIR 2014)."""

from .configuration_lssh import LSSHConfig
from .modeling_lssh import LSSHModel

__all__ = ["LSSHConfig", "LSSHModel"]
