"""CM-GANs: cross-modal generative adversarial networks (Peng and Qi, TOMM 2019)."""

from .configuration_cm_gans import CMGANsConfig
from .modeling_cm_gans import CMGANsModel

__all__ = ["CMGANsConfig", "CMGANsModel"]
