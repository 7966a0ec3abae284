"""Where embedded items are searched. One module an index; a new one is listed here."""

from __future__ import annotations

from collections.abc import Mapping

from ..registry import Registry
from .base import Index

INDEXES: Mapping[str, type[Index]] = Registry("index", {"exact": "cmr_hub.indexes.exact:ExactIndex"})

__all__ = ["INDEXES", "Index"]
