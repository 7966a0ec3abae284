"""DJSRH: deep joint-semantics reconstructing hashing (Su et al., ICCV 2019)."""

from .configuration_djsrh import DJSRHConfig
from .modeling_djsrh import DJSRHModel

__all__ = ["DJSRHConfig", "DJSRHModel"]
