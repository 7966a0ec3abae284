"""Spreading vectors: a network that spreads embeddings over a sphere (Sablayrolles et al., ICLR 2019)."""

from .configuration_spreading_vectors import SpreadingVectorsConfig
from .modeling_spreading_vectors import SpreadingVectorsModel

__all__ = ["SpreadingVectorsConfig", "SpreadingVectorsModel"]
