"""What a collection of a gallery's items is made of: its fields, its vector index, and expressions that filter it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.milvus_client import IndexParams

from cmr_hub.errors import InputError
from cmr_hub.modeling.embeddings import Representation, kind_of

from .vectors import STORED_VECTORS, StoredVectors

KEY, VECTOR = "key", "vector"  # the index's number of an item, and its embedding
ID_BYTES = LABEL_BYTES = 512
TEXT_BYTES, IMAGE_BYTES = 4096, 1024
LABELS = 256  # of one item
WHOLE_FIELDS = {"id": ID_BYTES, "image": IMAGE_BYTES}  # half of one names nothing


@dataclass(frozen=True)
class VectorIndex:
    """How Milvus searches the vectors of a collection.

    Args:
        representation: of the vectors.
        width: of a row: dimensions, or bytes of a code.
        kind: "FLAT" compares all and is exact; "IVF_FLAT" and, of real-valued vectors, "HNSW" miss some.
        params: Milvus' own, as "nlist", or "M" and "efConstruction".

    Raises:
        InputError: there is no such kind for these vectors.
    """

    representation: Representation
    width: int
    kind: str = "FLAT"
    params: Mapping[str, Any] | None = None

    def __post_init__(self):
        known = self.stored.index_types
        if self.kind not in known:
            raise InputError(f"Milvus searches {self} by {' or '.join(known)}, not by {self.kind!r}.")

    def __str__(self) -> str:
        return self.stored.kind.describe(self.width)

    @property
    def stored(self) -> StoredVectors:
        """How Milvus stores such vectors."""
        return STORED_VECTORS[self.representation]

    @property
    def described(self) -> dict[str, str]:
        """As Milvus describes it."""
        defaults = {"FLAT": {}, "IVF_FLAT": {"nlist": 1024}, "HNSW": {"M": 16, "efConstruction": 200}}
        params = {name: str(value) for name, value in {**defaults[self.kind], **(self.params or {})}.items()}
        return {"index_type": self.stored.prefix + self.kind, "metric_type": self.stored.metric, **params}

    def schema(self) -> CollectionSchema:
        """The collection's fields."""
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(KEY, DataType.INT64, is_primary=True)
        schema.add_field("id", DataType.VARCHAR, max_length=ID_BYTES)
        schema.add_field(
            "labels", DataType.ARRAY, element_type=DataType.VARCHAR, max_length=LABEL_BYTES, max_capacity=LABELS
        )
        schema.add_field("text", DataType.VARCHAR, max_length=TEXT_BYTES)
        schema.add_field("image", DataType.VARCHAR, max_length=IMAGE_BYTES)
        schema.add_field(VECTOR, self.stored.data_type, dim=self.stored.dim(self.width))
        return schema

    def index_params(self) -> IndexParams:
        """What Milvus builds it from."""
        described = self.described
        kind, metric = described.pop("index_type"), described.pop("metric_type")
        params = MilvusClient.prepare_index_params()
        params.add_index(VECTOR, index_type=kind, index_name=VECTOR, metric_type=metric, params=described)
        return params

    def difference(self, description: Mapping[str, Any]) -> str:
        """How the fields of a collection, as Milvus describes them, are not these; "" where they are."""
        theirs = {field["name"]: field["type"] for field in description["fields"]}
        ours = {field.name: field.dtype for field in self.schema().fields}
        if theirs.keys() != ours.keys():
            return f"it has the fields {', '.join(theirs)} and not {', '.join(ours)}"
        held = held_vectors(description)
        if held != (self.representation, self.width):
            return f"it holds {VectorIndex(*held)}, and these are {self}"
        wrong = [name for name in ours if theirs[name] != ours[name]]
        return f"its field {wrong[0]} is of another type" if wrong else ""


def held_vectors(description: Mapping[str, Any]) -> tuple[Representation, int]:
    """The representation of the vectors that a collection holds, and their width.

    Raises:
        InputError: it is no collection of a gallery.
    """
    for field in description["fields"]:
        for representation, stored in STORED_VECTORS.items():
            if field["name"] == VECTOR and field["type"] == stored.data_type:
                return representation, stored.width(int(field["params"]["dim"]))
    raise InputError(
        f"The collection {description['collection_name']!r} holds no gallery: it has no field {VECTOR!r}."
    )


def record(key: int, vector: np.ndarray, item: Mapping[str, Any]) -> dict[str, Any]:
    """One item as Milvus stores it.

    Args:
        key: the index's number of it.
        vector: `(width,)`, float32 or uint8.
        item: `id` (by default the key), `labels`, `text` (cut where it is too long) and `image`; all may be missing.

    Raises:
        InputError: an id, a label or an image's place is too long, or there are too many labels.
    """
    stored = {KEY: key, VECTOR: STORED_VECTORS[kind_of(vector).name].sent(vector)}
    for name, limit in WHOLE_FIELDS.items():
        stored[name] = _whole(str(item.get(name) or ("" if name == "image" else key)), limit, name, key)
    labels = list(item.get("labels") or ())
    if len(labels) > LABELS:
        raise InputError(f"Item {key} has {len(labels)} labels, and an item may have {LABELS} in Milvus.")
    stored["labels"] = [_whole(str(label), LABEL_BYTES, "label", key) for label in labels]
    stored["text"] = cut(str(item.get("text") or ""), TEXT_BYTES)
    return stored


def cut(text: str, limit: int) -> str:
    """The beginning of a text that takes at most `limit` bytes in UTF-8; no letter is cut in two.

    Example:
    ```python
    >>> cut("naïve", 3)
    'na'
    ```
    """
    if text.isascii():
        return text[:limit]
    return text.encode("utf-8", errors="ignore")[:limit].decode("utf-8", errors="ignore")


def has_any_label(labels: Iterable[str]) -> str:
    r"""The filter for items of at least one of these classes, whatever their names contain.

    Example:
    ```python
    >>> print(has_any_label(['say "no"', "café"]))
    array_contains_any(labels, ["say \"no\"", "café"])
    ```
    """
    # Milvus' strings have JSON's escapes, except that letters beyond the first 65,536 must stand as they are.
    return f"array_contains_any(labels, {json.dumps([str(label) for label in labels], ensure_ascii=False)})"


def has_item(items: Sequence[str]) -> str:
    r"""The filter for items that are called so.

    Example:
    ```python
    >>> print(has_item(["beach.jpg", 'a "b"']))
    id in ["beach.jpg", "a \"b\""]
    ```
    """
    return f"id in {json.dumps(list(items), ensure_ascii=False)}"


def has_key(keys: Sequence[int] | np.ndarray) -> str:
    """The filter for items of these numbers."""
    return f"{KEY} in {np.asarray(keys, np.int64).tolist()}"


def _whole(value: str, limit: int, name: str, key: int) -> str:
    if cut(value, limit) != value:
        raise InputError(f"Item {key}: its {name} has more than {limit} bytes, or is no Unicode: {value[:60]!r}.")
    return value
