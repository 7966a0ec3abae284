from .configuration_dscmr import DSCMRConfig
from .modeling_dscmr import DSCMRModel

__all__ = ["DSCMRConfig", "DSCMRModel"]
