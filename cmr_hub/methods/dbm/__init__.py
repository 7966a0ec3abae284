"""DBM: the bimodal deep Boltzmann machine (Srivastava and Salakhutdinov, NIPS 2012)."""

from .configuration_dbm import DBMConfig
from .modeling_dbm import DBMModel

__all__ = ["DBMConfig", "DBMModel"]
