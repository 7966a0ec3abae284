"""Reading the sides of a data set's pairs as what encoders take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
from datasets import Dataset, Image, Value

from cmr_hub.errors import InputError
from cmr_hub.utils.deprecation import renamed_arguments

from .image_cells import ImageFiles, read_images

Modality = Literal["image", "text"]
COLUMNS: dict[Modality, tuple[str, str]] = {"image": ("image", "image_features"), "text": ("texts", "text_features")}


@renamed_arguments(side="modality", takes_raw="accepts_raw_input")
def column_of(dataset: Dataset, modality: Modality, accepts_raw_input: bool) -> str:
    """The column of `dataset` that holds one side, raw or as released features.

    Raises:
        InputError: the data set has no such column.
    """
    column = COLUMNS[modality][0 if accepts_raw_input else 1]
    if column not in dataset.column_names:
        kind = "raw" if accepts_raw_input else "released features of the"
        raise InputError(
            f"The checkpoint takes {kind} {modality}s, in a column {column!r}; this data set has only "
            f"{', '.join(dataset.column_names) or 'no columns'}."
        )
    return column


def read_column(dataset: Dataset, column: str, *, image_files: ImageFiles | None = None) -> Sequence[Any]:
    """All rows of a column, ready for `encode_images` or `encode_texts`.

    Args:
        dataset: `n` items.
        column: its name.
        image_files: which files image cells may name; by default as [`ImageFiles.of`] says.

    Returns:
        Undecoded image records `{"path", "bytes"}` for `image`, lists of strings for `texts` (without nulls), an
        `(n, d)` float32 array for feature columns.

    Raises:
        InputError: an image cell names a file that may not be opened.
    """
    rows = dataset.select_columns(column)
    if isinstance(dataset.features[column], Image):
        return read_images(dataset, column, files=image_files)
    if column.endswith("_features"):
        return cast(Sequence[Any], np.asarray(rows.with_format("numpy")[:][column], dtype=np.float32))
    if column == "texts" and not isinstance(dataset.features[column], Value):
        return [[text for text in texts or () if text is not None] for texts in rows[column][:]]
    return rows[column][:]
