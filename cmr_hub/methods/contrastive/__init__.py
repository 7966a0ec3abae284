from .configuration_contrastive import ContrastiveConfig
from .modeling_contrastive import ContrastiveModel

__all__ = ["ContrastiveConfig", "ContrastiveModel"]
