"""CVH: cross-view hashing (Kumar and Udupa, IJCAI 2011)."""

from .configuration_cvh import CVHConfig
from .modeling_cvh import CVHModel

__all__ = ["CVHConfig", "CVHModel"]
