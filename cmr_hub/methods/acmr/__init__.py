from .configuration_acmr import ACMRConfig
from .modeling_acmr import ACMRModel

__all__ = ["ACMRConfig", "ACMRModel"]
