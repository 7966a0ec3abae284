"""CMFH: collective matrix factorisation hashing (Ding et al., CVPR 2014)."""

from .configuration_cmfh import CMFHConfig
from .modeling_cmfh import CMFHModel

__all__ = ["CMFHConfig", "CMFHModel"]
