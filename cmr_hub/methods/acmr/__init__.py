"""ACMR: adversarial cross-modal retrieval (Wang et al., MM 2017)."""

from .configuration_acmr import ACMRConfig
from .modeling_acmr import ACMRModel

__all__ = ["ACMRConfig", "ACMRModel"]
