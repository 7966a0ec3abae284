"""SM: semantic matching (Rasiwasia et al., MM 2010)."""

from .configuration_semantic_matching import SemanticMatchingConfig
from .modeling_semantic_matching import SemanticMatchingModel

__all__ = ["SemanticMatchingConfig", "SemanticMatchingModel"]
