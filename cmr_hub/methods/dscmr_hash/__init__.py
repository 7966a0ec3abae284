from .configuration_dscmr_hash import DSCMRHashConfig
from .modeling_dscmr_hash import DSCMRHashModel

__all__ = ["DSCMRHashConfig", "DSCMRHashModel"]
