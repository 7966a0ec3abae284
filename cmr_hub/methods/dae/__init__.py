from .configuration_dae import DAEConfig
from .modeling_dae import DAEModel

__all__ = ["DAEConfig", "DAEModel"]
