"""Checks of a saved gallery, which anybody may have written: its settings, its shards and the rows in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Value

from cmr_hub.errors import CheckpointError, UnknownNameError
from cmr_hub.indexes import INDEXES
from cmr_hub.modeling.embeddings import kind_of
from cmr_hub.utils.checkpoint_files import check_regular
from cmr_hub.utils.hub import check_repo_id

FREE_BYTES = 1 << 28  # embeddings of this size are read, however small their file is
MAX_RATIO = 100  # how many times as large as their file embeddings may be: of equal rows little is stored

_TEXTS = (Value("string"), Value("large_string"))
_SETTINGS: Mapping[str, type] = {"name": str, "index": str, "index_options": dict, "shards": int}


def check_settings(config: Mapping[str, Any], path: Path) -> None:
    """Refuse settings that are incomplete or of another type, or name no index.

    Raises:
        CheckpointError: names the setting.
    """
    for setting, kind in _SETTINGS.items():
        if type(config.get(setting)) is not kind:  # True is an int too
            raise CheckpointError(
                f"{path} must have {setting!r} as a {kind.__name__}, and has {config.get(setting)!r:.100}. Build or "
                "fetch the gallery again."
            )
    if config["index"] != "auto" and config["index"] not in INDEXES:
        raise CheckpointError(f"{path}: {UnknownNameError('index', config['index'][:100], INDEXES)}")
    if not isinstance(config.get("retriever"), str | None):
        raise CheckpointError(f"{path} must have 'retriever' as a str, and has {config['retriever']!r:.100}.")


def check_references(config: Mapping[str, Any], path: Path) -> None:
    """Refuse the settings of a gallery from the Hub that name files of this machine.

    A gallery that was saved here may refer to a checkpoint or catalyser in a folder; who publishes one brings it in
    the folder `retriever` or names a repo.

    Raises:
        CheckpointError: names the setting.
    """
    options = config["index_options"]
    for setting, name in (("retriever", config.get("retriever")), ("catalyser", options.get("catalyser"))):
        if name is None:
            continue
        if not isinstance(name, str) or Path(name).exists():
            raise CheckpointError(f"{path} is from the Hub, and its {setting} {name!r:.100} is on this machine.")
        check_repo_id(name)


def check_count(folder: Path, shards: int) -> None:
    """Refuse a number of shards that is larger than the number of files.

    Raises:
        CheckpointError: says both.
    """
    found = sum(1 for _ in folder.glob("items-*.parquet"))
    if not 1 <= shards <= found:
        raise CheckpointError(
            f"The gallery in {folder} cannot be read: its settings speak of {shards:,} shards, and there are {found}. "
            "Build or fetch it again."
        )


def check_shard(path: Path) -> int:
    """Refuse a shard that cannot be read, or that is far larger in memory than on disk.

    Returns:
        Number of its items.

    Raises:
        CheckpointError: it is no regular file or no Parquet, or its embeddings would take far more memory than it has
            bytes.
    """
    size = check_regular(path).st_size
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CheckpointError(f"{path} is not readable as Parquet ({error}). Fetch it again.") from error
    width = sum(
        field.type.list_size * field.type.value_type.bit_width // 8
        for field in schema
        if pa.types.is_fixed_size_list(field.type) and pa.types.is_primitive(field.type.value_type)
    )
    if metadata.num_rows * width > max(FREE_BYTES, MAX_RATIO * size):
        raise CheckpointError(
            f"{path} has {size:,} bytes, and says that its {metadata.num_rows:,} rows have {width:,} bytes of "
            "embeddings each. Fetch it again."
        )
    return metadata.num_rows


def check_rows(rows: np.ndarray, column: str, path: Path) -> None:
    """Refuse embeddings that no model gives; see [`~cmr_hub.modeling.embeddings.EmbeddingKind.bad_rows`].

    Args:
        rows: `(n, width)` of one shard.
        column: their name.
        path: of the shard.

    Raises:
        CheckpointError: names the first bad row.
    """
    if rows.dtype not in (np.uint8, np.float32, np.float16):
        raise CheckpointError(f"{column} in {path} are {rows.dtype}, and float32 or uint8 are expected.")
    bad = kind_of(rows).bad_rows(rows)
    if len(bad):
        raise CheckpointError(
            f"Row {bad[0]} of {column} in {path} is not of unit length ({len(bad)} such rows). Build or fetch the "
            "gallery again."
        )


def check_columns(dataset: Dataset, folder: Path) -> None:
    """Refuse items whose columns are of other types than items have.

    Raises:
        CheckpointError: names the column, or the first row of an unknown class.
        pyarrow.ArrowException: strings that are no UTF-8, or the like.
    """
    features = dataset.features
    if not isinstance(features.get("id"), Value):
        raise CheckpointError(f"The items in {folder} have no ids: a column 'id' is expected.")
    if "texts" in features and getattr(features["texts"], "feature", None) not in _TEXTS:
        raise CheckpointError(f"The items in {folder} have 'texts' of another type than lists of strings.")
    # Offsets, and that strings are UTF-8.
    dataset.data.select([name for name in ("id", "texts", "label", "labels") if name in features]).validate(full=True)
    for column, several in (("label", False), ("labels", True)):
        if (labels := _classes(features, column, several)) is not None:
            _check_labels(dataset[column][:], labels.num_classes or 0, column, folder)


def _classes(features: Features, column: str, several: bool) -> ClassLabel | None:
    feature = getattr(features.get(column), "feature", None) if several else features.get(column)
    return feature if isinstance(feature, ClassLabel) else None


def _check_labels(rows: Sequence[Any], classes: int, column: str, folder: Path) -> None:
    for row, labels in enumerate(rows):
        for label in labels if isinstance(labels, list) else [labels]:
            if label is None or not -1 <= label < classes:  # -1 stands for "unknown"
                raise CheckpointError(
                    f"Item {row} in {folder} has the class {label} in {column!r}, and there are {classes} classes."
                )
