"""DSCMR: deep supervised cross-modal retrieval (Zhen et al., CVPR 2019)."""

from .configuration_dscmr import DSCMRConfig
from .modeling_dscmr import DSCMRModel

__all__ = ["DSCMRConfig", "DSCMRModel"]
