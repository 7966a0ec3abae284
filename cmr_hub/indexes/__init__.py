"""Where embedded items are searched. One module an index; a new one is listed here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cmr_hub.utils.hub import read_json
from cmr_hub.utils.registry import Registry

from .base import CONFIG_NAME, Filter, Index
from .choice import Choice, choose_index

INDEXES: Mapping[str, type[Index]] = Registry(
    "index",
    {
        "exact": "cmr_hub.indexes.exact:ExactIndex",
        "faiss": "cmr_hub.indexes.faiss:FaissIndex",
        "hamming": "cmr_hub.indexes.hamming:HammingIndex",
        "kd_tree": "cmr_hub.indexes.kd_tree:KDTreeIndex",
        "lattice": "cmr_hub.indexes.lattice:LatticeIndex",
        "lsh": "cmr_hub.indexes.lsh:LSHIndex",
        "milvus": "cmr_hub.indexes.milvus:MilvusIndex",
    },
)


def load_index(folder: str | os.PathLike) -> Index:
    """An index from the folder that [`Index.save`] wrote, built again from its data.

    Raises:
        CheckpointError: files that are missing or corrupt.
        UnknownNameError: it is of a kind that this version does not know.

    Example:

    ```python
    >>> import tempfile
    >>> import numpy as np
    >>> folder = tempfile.mkdtemp()
    >>> INDEXES["exact"](np.eye(3, dtype=np.float32)).save(folder)
    >>> len(load_index(folder))
    3
    ```
    """
    config = read_json(Path(folder) / CONFIG_NAME)
    return INDEXES[config["index"]].from_saved(folder, config["options"])


__all__ = ["INDEXES", "Choice", "Filter", "Index", "choose_index", "load_index"]
