"""CCA: canonical correlation analysis (Hotelling, Biometrika 1936)."""

from .configuration_cca import CCAConfig
from .modeling_cca import CCAModel

__all__ = ["CCAConfig", "CCAModel"]
