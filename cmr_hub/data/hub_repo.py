"""Any data set of images and texts on the Hub, by its repo id: `load_dataset("owner/name")`."""

from __future__ import annotations

import logging
from pathlib import Path

import datasets
import httpx2
from huggingface_hub import constants

from cmr_hub.errors import DatasetError, DownloadError
from cmr_hub.utils.hub_errors import HOW_TO_LOG_IN
from cmr_hub.utils.messages import name_some

from .base import SPLITS, TEXTS, DatasetInfo, Loader, ProgressCallback, split_by_hash
from .image_cells import resolve_images, undecoded
from .labels import LABEL_COLUMNS, class_names, has_labels
from .standard_columns import standardize
from .table import SPLIT_NAMES

logger = logging.getLogger(__name__)

SPLIT = "split"  # a column that some data sets have in place of splits; here of all


class HubRepo(Loader):
    """A data set repo on the Hub, whose columns and splits are found by their names and types.

    See [`~cmr_hub.data.standard_columns.standardize`] for the columns. Splits are those of the repo, or its column
    `split`; of a repo with a single split, train, a hash of the id splits the pairs 70/10/20. Where there are classes
    and no texts, the class's name is the text.

    Args:
        name: the repo id.
    """

    def __init__(self, name: str):
        # Of an instance: the name is only known here.
        self.info = DatasetInfo(  # type: ignore[misc]
            name=name,
            title=name,
            license="as its page says",
            homepage=f"https://huggingface.co/datasets/{name}",
            source=f"https://huggingface.co/datasets/{name}",
            how_to_get=f"Download the repo with `hf download --repo-type dataset {name}`.",
            columns=("id", "image", "texts", *LABEL_COLUMNS),
        )

    def is_available(self, folder: Path | None) -> bool:
        if folder is not None:
            return folder.is_dir()
        return Path(datasets.config.HF_DATASETS_CACHE, self.info.name.replace("/", "___")).is_dir()

    def load(
        self,
        folder: Path | None,
        *,
        progress: ProgressCallback | None = None,
        config: str | None = None,
        revision: str | None = None,
    ) -> datasets.DatasetDict:
        """Load a repo.

        Args:
            folder: a copy of the repo; by default it is downloaded into the cache of `datasets`.
            progress: called once, before the download.
            config: which part of the repo, where it has several.
            revision: branch, tag or commit.

        Raises:
            DownloadError: the repo cannot be fetched, or not read.
            DatasetError: it has no column of images, or none of texts.
        """
        name = self.info.name
        if progress is not None:
            progress(0.0, f"Downloading {name} from the Hub")
        source = name if folder is None else str(folder)
        try:
            splits = datasets.load_dataset(source, config, revision=revision)
            rows = datasets.concatenate_datasets([_named(part, split) for split, part in splits.items()])
        except (OSError, ValueError, httpx2.HTTPError, datasets.exceptions.DatasetsError) as error:
            raise DownloadError(
                f"The data set {name!r} cannot be loaded from the Hub: {error} Check its name, or {HOW_TO_LOG_IN}. To "
                f"do it by hand: {self.info.how_to_get} Then load it with data_dir=<that folder>."
            ) from error
        return self._in_splits(self._with_texts(self._of_its_own(standardize(rows), folder)))

    def _of_its_own(self, rows: datasets.Dataset, folder: Path | None) -> datasets.Dataset:
        """The rows with images that may be opened: those that cells hold, or files of the repo."""
        if "image" not in rows.column_names:
            columns = ", ".join(name for name in rows.column_names if name not in ("id", SPLIT))
            raise DatasetError(f"{self.info.name} has no column of images, or several; its columns are: {columns}.")
        first = undecoded(rows.select(range(min(9, len(rows)))))["image"][:]
        if all(cell is None or cell["bytes"] is not None for cell in first):
            return rows
        cached = Path(constants.HF_HUB_CACHE, f"datasets--{self.info.name.replace('/', '--')}")
        return resolve_images(rows, folder or cached) if (folder or cached).is_dir() else rows

    def _with_texts(self, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows that have a text; of a data set without any the classes are the texts."""
        if "texts" not in rows.column_names:
            if not has_labels(rows.column_names):
                columns = ", ".join(name for name in rows.column_names if name not in ("id", SPLIT))
                raise DatasetError(
                    f"{self.info.name} has no column of texts (text, caption, captions …) and no class labels; its "
                    f"columns are: {columns}."
                )
            logger.warning("%s has no texts: the classes' names are its texts.", self.info.name)
            names = class_names(rows)
            column = next(column for column in LABEL_COLUMNS if column in rows.column_names)
            cells = [label if isinstance(label, list) else [label] for label in rows[column][:]]
            texts = [[names[label] for label in row if label is not None and label >= 0] for row in cells]
            rows = rows.add_column("texts", texts, feature=TEXTS)
        kept = [row for row, texts in enumerate(rows["texts"][:]) if texts]
        if len(kept) == len(rows):
            return rows
        logger.warning(
            "%s: %d of %d rows have no text and are left out.", self.info.name, len(rows) - len(kept), len(rows)
        )
        return rows.select(kept)

    def _in_splits(self, rows: datasets.Dataset) -> datasets.DatasetDict:
        named = rows[SPLIT][:]
        splits = [SPLIT_NAMES.get(split.lower()) for split in named]
        unknown = sorted({split for split, known in zip(named, splits, strict=True) if known is None})
        if set(splits) <= {None, "train"}:
            splits = [split_by_hash(item) for item in rows["id"][:]]
        elif unknown:
            logger.warning("%s: the splits %s are left out.", self.info.name, name_some(unknown))
        columns = [name for name in self.info.columns if name in rows.column_names]
        result = datasets.DatasetDict()
        for split in SPLITS:
            chosen = [row for row, of_row in enumerate(splits) if of_row == split]
            if chosen:
                result[split] = rows.select(chosen).select_columns(columns)
        return result


def _named(part: datasets.Dataset, split: str) -> datasets.Dataset:
    """A split whose rows say which it is, and whose ids are those of no other split."""
    if SPLIT not in part.column_names:
        part = part.add_column(SPLIT, [split] * len(part))
    if "id" in part.column_names:
        return part
    return part.add_column("id", [f"{split}-{row}" for row in range(len(part))])
