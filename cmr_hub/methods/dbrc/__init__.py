"""DBRC: deep binary reconstruction (Li, Hu and Nie, MM 2017)."""

from .configuration_dbrc import DBRCConfig
from .modeling_dbrc import DBRCModel

__all__ = ["DBRCConfig", "DBRCModel"]
