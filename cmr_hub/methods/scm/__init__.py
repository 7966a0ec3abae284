"""SCM: semantic correlation maximisation, a hashing method (Zhang and Li, AAAI 2014)."""

from .configuration_scm import SCMConfig
from .modeling_scm import SCMModel

__all__ = ["SCMConfig", "SCMModel"]
