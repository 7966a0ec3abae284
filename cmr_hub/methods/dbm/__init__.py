from .configuration_dbm import DBMConfig
from .modeling_dbm import DBMModel

__all__ = ["DBMConfig", "DBMModel"]
