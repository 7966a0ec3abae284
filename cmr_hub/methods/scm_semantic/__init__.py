from .configuration_scm_semantic import SCMSemanticConfig
from .modeling_scm_semantic import SCMSemanticModel

__all__ = ["SCMSemanticConfig", "SCMSemanticModel"]
