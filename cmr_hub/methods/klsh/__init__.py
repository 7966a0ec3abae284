"""KLSH: kernelized locality-sensitive hashing of canonical variates (Kulis and Grauman, ICCV 2009)."""

from .configuration_klsh import KLSHConfig
from .modeling_klsh import KLSHModel

__all__ = ["KLSHConfig", "KLSHModel"]
