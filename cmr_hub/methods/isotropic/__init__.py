from .configuration_isotropic import IsotropicConfig
from .modeling_isotropic import IsotropicModel

__all__ = ["IsotropicConfig", "IsotropicModel"]
