"""A gallery on disk: Parquet files of items with their embeddings as columns, and one file of settings.

`datasets.load_dataset` reads such a folder as a data set with embeddings. It contains data only.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, Image, List, Value

from cmr_hub.data.columns import COLUMNS
from cmr_hub.data.image_cells import ImageFiles, plain_features

from .gallery_checks import check_rows
from .gallery_layout import CONFIG_NAME, UNUSABLE_NAME, ShardRecord, Unusable

# Modality -> column of what is searched, and of the real-valued rows behind codes.
EMBEDS = {modality: f"{modality}_embeds" for modality in COLUMNS}
REAL_VALUED = {modality: f"{modality}_real_valued" for modality in COLUMNS}
ROW_GROUP = 128  # items that are read at once, even for one image


def write_unusable(folder: Path, items: Sequence[Unusable]) -> None:
    """Write the list of what was left out, as spreadsheets read it."""
    with (folder / UNUSABLE_NAME).open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "reason"])
        writer.writerows([item.id, item.reason] for item in items)


def write_items(
    path: str | os.PathLike,
    items: Dataset,
    embeds: Mapping[str, np.ndarray],
    *,
    copy_images: bool = True,
    image_files: ImageFiles | None = None,
    record: ShardRecord | None = None,
) -> None:
    """Write one shard.

    Args:
        path: of the file.
        items: `n` items.
        embeds: column -> `(n, d)` float32 or uint8 rows, as [`EMBEDS`] and [`REAL_VALUED`] name them.
        copy_images: copy images that lie in files elsewhere into the shard; otherwise their paths.
        image_files: which files image cells may name; by default as [`ImageFiles.of`] says.
        record: which items of a source the shard is made of.

    Raises:
        InputError: a file that an image cell names may not be opened, or is no image.
    """
    table = items_table(items, embeds, copy_images=copy_images, image_files=image_files)
    metadata = table.schema.metadata | ({} if record is None else record.as_metadata())
    write_table(path, table.replace_schema_metadata(metadata))


def items_table(
    items: Dataset,
    embeds: Mapping[str, np.ndarray],
    *,
    copy_images: bool = True,
    image_files: ImageFiles | None = None,
) -> pa.Table:
    """What [`write_items`] writes, without a record."""
    table, files = items.with_format("arrow")[:], image_files or ImageFiles.of(items)
    features = plain_features(items.features.arrow_schema)
    for number, (column, kind) in enumerate(features.items()):
        if isinstance(kind, Image):
            features[column] = Image()
            table = table.set_column(number, column, files.store(table[column], copy=copy_images))
    for column, rows in embeds.items():
        values = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
        table = table.append_column(column, values)
        features[column] = List(Value(str(rows.dtype)), length=rows.shape[1])
    return table.replace_schema_metadata(features.arrow_schema.metadata)


def write_table(path: str | os.PathLike, table: pa.Table) -> None:
    """Write the table of a shard."""
    pq.write_table(table, path, row_group_size=ROW_GROUP, write_page_checksum=True)


def read_items(paths: Sequence[Path]) -> tuple[Dataset, dict[str, np.ndarray]]:
    """What [`write_items`] wrote: the items of all shards, images left on disk, and the embeddings in memory.

    Nothing in the files makes reading them open anything else; images are undecoded.
    """
    schema = pq.read_schema(paths[0])
    names = schema.names
    embedded = [name for name in names if name in (*EMBEDS.values(), *REAL_VALUED.values())]
    columns = [name for name in names if name not in embedded]
    embeds = {name: np.concatenate([read_embeds(path, name) for path in paths]) for name in embedded}
    features = plain_features(schema)
    kinds = Features({name: features[name] for name in columns})
    return Dataset.from_parquet([str(path) for path in paths], columns=columns, features=kinds), embeds


def is_damaged(path: Path) -> bool:
    """Whether a shard cannot be read, or has other content than was written; of earlier versions only the former."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for _ in file.iter_batches(ROW_GROUP):
                pass
    except (OSError, ValueError, NotImplementedError):  # pyarrow's errors of damaged files are of these
        return True
    return False


def filled(paths: Sequence[Path]) -> list[Path]:
    """The shards that have items: of one whose items all were unusable nothing can be read."""
    return [path for path in paths if pq.read_metadata(path).num_rows]


def read_embeds(path: Path, column: str) -> np.ndarray:
    """The embeddings of one shard, `(n, d)`, checked."""
    values = pq.read_table(path, columns=[column]).column(column).combine_chunks()
    rows = values.flatten().to_numpy().reshape(len(values), values.type.list_size)
    check_rows(rows, column, path)
    return rows


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write a gallery's settings; a folder without them is no gallery yet."""
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
