from .configuration_idcmr import IDCMRConfig
from .modeling_idcmr import IDCMRModel

__all__ = ["IDCMRConfig", "IDCMRModel"]
