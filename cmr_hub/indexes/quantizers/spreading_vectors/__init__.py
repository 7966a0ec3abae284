from .configuration_spreading_vectors import SpreadingVectorsConfig
from .modeling_spreading_vectors import SpreadingVectorsModel

__all__ = ["SpreadingVectorsConfig", "SpreadingVectorsModel"]
