from .configuration_scm import SCMConfig
from .modeling_scm import SCMModel

__all__ = ["SCMConfig", "SCMModel"]
