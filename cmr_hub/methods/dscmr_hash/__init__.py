"""DSCMR-Hash: DSCMR with binary codes, a method of cmr_hub's own."""

from .configuration_dscmr_hash import DSCMRHashConfig
from .modeling_dscmr_hash import DSCMRHashModel

__all__ = ["DSCMRHashConfig", "DSCMRHashModel"]
