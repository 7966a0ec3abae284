from .configuration_cmfh import CMFHConfig
from .modeling_cmfh import CMFHModel

__all__ = ["CMFHConfig", "CMFHModel"]
