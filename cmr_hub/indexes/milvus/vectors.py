"""How Milvus stores and compares each kind of embedding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from pymilvus import DataType

from cmr_hub.modeling.embeddings import BINARY, REAL_VALUED, EmbeddingKind, Representation, as_vectors


class StoredVectors(ABC):
    """Vectors of one kind as fields of a collection.

    Attributes:
        kind: of the embeddings.
        data_type: Milvus' type of the field.
        metric: Milvus' name of the distance.
        index_types: the indexes that it builds of them, as users name them.
        prefix: what Milvus' own names of these begin with.
    """

    kind: ClassVar[EmbeddingKind]
    data_type: ClassVar[DataType]
    metric: ClassVar[str]
    index_types: ClassVar[tuple[str, ...]]
    prefix: ClassVar[str] = ""

    @abstractmethod
    def dim(self, width: int) -> int:
        """Milvus' dimension of rows of this width."""

    @abstractmethod
    def width(self, dim: int) -> int:
        """The width of rows of this dimension."""

    @abstractmethod
    def sent(self, vector: np.ndarray) -> Any:
        """One `(width,)` row as requests have it."""

    @abstractmethod
    def received(self, vector: Any) -> np.ndarray:
        """One row, `(width,)`, of what a query gives."""

    @abstractmethod
    def cosines(self, distances: np.ndarray, width: int) -> np.ndarray:
        """The cosines that Milvus' distances, float64, stand for."""

    def cosine(self, first: np.ndarray, second: np.ndarray) -> float:
        """Of two `(width,)` rows."""
        return float(np.dot(*as_vectors(np.stack([first, second]))))


class FloatVectors(StoredVectors):
    """Real-valued rows, by inner product."""

    kind = REAL_VALUED
    data_type = DataType.FLOAT_VECTOR
    metric = "IP"
    index_types = ("FLAT", "IVF_FLAT", "HNSW")

    def dim(self, width: int) -> int:
        return width

    def width(self, dim: int) -> int:
        return dim

    def sent(self, vector: np.ndarray) -> np.ndarray:
        return vector

    def received(self, vector: Any) -> np.ndarray:
        return np.asarray(vector, np.float32)

    def cosines(self, distances: np.ndarray, width: int) -> np.ndarray:
        return distances


class BinaryVectors(StoredVectors):
    """Packed codes, by Hamming distance."""

    kind = BINARY
    data_type = DataType.BINARY_VECTOR
    metric = "HAMMING"
    index_types = ("FLAT", "IVF_FLAT")
    prefix = "BIN_"

    def dim(self, width: int) -> int:
        return 8 * width

    def width(self, dim: int) -> int:
        return dim // 8

    def sent(self, vector: np.ndarray) -> bytes:
        return vector.tobytes()

    def received(self, vector: Any) -> np.ndarray:
        return np.frombuffer(vector[0], np.uint8)

    def cosines(self, distances: np.ndarray, width: int) -> np.ndarray:
        return 1 - distances * 2 / self.dim(width)


STORED_VECTORS: dict[Representation, StoredVectors] = {
    stored.kind.name: stored for stored in (FloatVectors(), BinaryVectors())
}
