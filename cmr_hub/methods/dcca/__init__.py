"""DCCA: deep canonical correlation analysis (Andrew et al., ICML 2013)."""

from .configuration_dcca import DCCAConfig
from .modeling_dcca import DCCAModel

__all__ = ["DCCAConfig", "DCCAModel"]
