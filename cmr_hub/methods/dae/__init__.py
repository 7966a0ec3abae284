"""DAE: the bimodal deep autoencoder (Ngiam et al., ICML 2011)."""

from .configuration_dae import DAEConfig
from .modeling_dae import DAEModel

__all__ = ["DAEConfig", "DAEModel"]
