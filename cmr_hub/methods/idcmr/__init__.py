"""IDCMR: improvement of deep cross-modal retrieval (Bhatt and Ganatra, PeerJ CS 2021)."""

from .configuration_idcmr import IDCMRConfig
from .modeling_idcmr import IDCMRModel

__all__ = ["IDCMRConfig", "IDCMRModel"]
