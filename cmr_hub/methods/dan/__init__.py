from .configuration_dan import DANConfig
from .modeling_dan import DANModel

__all__ = ["DANConfig", "DANModel"]
