"""DAN: dual attention networks for matching and for reasoning (Nam et al., CVPR 2017)."""

from .configuration_dan import DANConfig
from .modeling_dan import DANModel

__all__ = ["DANConfig", "DANModel"]
