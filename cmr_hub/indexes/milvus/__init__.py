"""Search in a Milvus server or cluster."""

from .index import MilvusIndex

__all__ = ["MilvusIndex"]
