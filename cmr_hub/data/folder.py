"""Anyone's own pairs: a folder of images with a `metadata.csv` or `metadata.jsonl` in it.

    file_name      (or image) path of an image, relative to the folder
    text           or texts, caption, captions, caption_0, caption_1 …: one or several columns with the texts; in JSON
                   lines a column may hold a list. Repeats within an image are dropped.
    label          optional, one class name; or labels: several, separated by ";" in CSV, a list in JSON lines
    split          optional: train, validation (val, valid, dev) or test. Without it 70/10/20 by a hash of the id, see
                   `cmr_hub.data.base.split_by_hash`
    id             optional; without it the file_name is the id

Several rows of the same image are one pair with all their texts; their label, split and id must agree.
"""

from __future__ import annotations

import logging
from pathlib import Path

import datasets

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError, InputError

from .base import SPLITS, DatasetInfo, Loader, ProgressCallback, split_by_hash
from .paths import leads_out
from .table import read_pairs, to_dataset

logger = logging.getLogger(__name__)

TABLES = ("metadata.csv", "metadata.jsonl")


@register_dataset("folder")
class Folder(Loader):
    """`load_dataset("folder", data_dir=…)`."""

    info = DatasetInfo(
        name="folder",
        title="Your own images and texts",
        license="yours",
        homepage="",
        source="",
        how_to_get="Put the images in a folder with a metadata.csv (columns file_name, text and perhaps label).",
        columns=("id", "image", "texts", "label", "labels"),
    )

    def is_available(self, folder: Path | None) -> bool:
        return folder is not None and any((folder / name).is_file() for name in TABLES)

    def load(
        self, folder: Path | None, *, progress: ProgressCallback | None = None, label_separator: str = ";"
    ) -> datasets.DatasetDict:
        if folder is None:
            raise InputError(f"Data set 'folder' needs data_dir=<your folder>. {self.info.how_to_get}")
        pairs, columns = read_pairs(find_table(folder), folder, label_separator)
        result = to_dataset(self.info, pairs, columns.label, None, split_by_hash)
        empty = [split for split in SPLITS if split not in result]
        if empty and not columns.split:
            logger.warning(
                "%s: with %d pairs no pair falls into %s by its hash; add a column split to choose.",
                folder,
                len(pairs),
                " or ".join(empty),
            )
        return result


def find_table(folder: Path) -> Path:
    """The one metadata table in the folder.

    Raises:
        DatasetError: there is none, there are two, or it is a symbolic link to a file outside.
    """
    tables = [folder / name for name in TABLES if (folder / name).is_file()]
    if len(tables) > 1:
        raise DatasetError(f"{folder} has both {' and '.join(TABLES)}; keep one of them.")
    if not tables:
        deeper = sorted(str(path.relative_to(folder)) for name in TABLES for path in folder.glob(f"*/{name}"))
        hint = f" There is one at {deeper[0]}: give that folder, or move it up." if deeper else ""
        raise DatasetError(f"{folder} has no {' or '.join(TABLES)} that says which text belongs to which image.{hint}")
    if leads_out(tables[0], folder.resolve()):
        raise DatasetError(f"{tables[0]} is a symbolic link that leads out of the folder. Put the file in its place.")
    return tables[0]
