"""IsoHash: isotropic hashing of canonical variates (Kong and Li, NIPS 2012)."""

from .configuration_isotropic import IsotropicConfig
from .modeling_isotropic import IsotropicModel

__all__ = ["IsotropicConfig", "IsotropicModel"]
