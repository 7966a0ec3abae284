"""SCM: semantic correlation matching, a real-valued method (Rasiwasia et al., MM 2010)."""

from .configuration_scm_semantic import SCMSemanticConfig
from .modeling_scm_semantic import SCMSemanticModel

__all__ = ["SCMSemanticConfig", "SCMSemanticModel"]
