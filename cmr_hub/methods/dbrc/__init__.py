from .configuration_dbrc import DBRCConfig
from .modeling_dbrc import DBRCModel

__all__ = ["DBRCConfig", "DBRCModel"]
