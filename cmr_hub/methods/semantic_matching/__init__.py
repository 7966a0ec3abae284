from .configuration_semantic_matching import SemanticMatchingConfig
from .modeling_semantic_matching import SemanticMatchingModel

__all__ = ["SemanticMatchingConfig", "SemanticMatchingModel"]
