"""Search in a Milvus server or cluster."""

from cmr_hub.utils.extras import require

require("pymilvus", "milvus", "The index 'milvus'")

from .index import MilvusIndex  # noqa: E402

__all__ = ["MilvusIndex"]
