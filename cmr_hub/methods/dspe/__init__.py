from .configuration_dspe import DSPEConfig
from .modeling_dspe import DSPEModel

__all__ = ["DSPEConfig", "DSPEModel"]
