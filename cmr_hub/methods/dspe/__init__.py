"""DSPE: deep structure-preserving image-text embeddings (Wang et al., CVPR 2016)."""

from .configuration_dspe import DSPEConfig
from .modeling_dspe import DSPEModel

__all__ = ["DSPEConfig", "DSPEModel"]
