"""Where embedded items are searched. One module an index; a new one is listed here."""

from __future__ import annotations

from collections.abc import Mapping

from ..registry import Registry
from .base import Index

INDEXES: Mapping[str, type[Index]] = Registry(
    "index",
    {
        "exact": "cmr_hub.indexes.exact:ExactIndex",
        "hamming": "cmr_hub.indexes.hamming:HammingIndex",
    },
)


def index_for(representation: str) -> str:
    """The name of the exact index for a method's "real-valued" or "binary" embeddings: what "auto" stands for."""
    return next(name for name in INDEXES if INDEXES[name].representation == representation)


__all__ = ["INDEXES", "Index", "index_for"]
