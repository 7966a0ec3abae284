"""Anyone's own pairs: a folder of images with a table in it, or with a folder per class.

The table is called `metadata` and is CSV (`.csv`, `.tsv`, `.txt`; any usual separator and encoding), JSON lines
(`.jsonl`), JSON (`.json`, also as MS-COCO's captions are laid out, or Karpathy's) or an Excel workbook (`.xlsx`, with
openpyxl: `pip install "cmr-hub[excel]"`). A title and other rows above the header are left out. Its columns:

    file_name      (or filename, image, image_path) path of an image, relative to the folder. Where no file has it: the
                   one image of this name in a folder below, or of this name without its suffix
    text           or texts, caption, captions, caption_0, caption_1 …: one or several columns with the texts; a cell
                   may hold a list (`["One.", "Two."]`). Repeats within an image are dropped. Without any of these:
                   sentence, description, title.
    label          optional, one class name; or labels: several, a list or separated by ";" (option `label_separator`)
    split          optional: train, validation (val, valid, dev) or test
    id             optional; without it the file_name is the id

Several rows of the same image are one pair with all their texts; their label, split and id must agree. Empty cells,
null and NaN are missing values. Classes that are all whole numbers are the same whether written 3, "3" or 3.0.

Without a column `split`, folders called `train`, `validation` and `test` are the splits, with one table in the folder
above or one in each. Otherwise the option `split` names one for all pairs, or a hash of the id splits them 70/10/20:
see `cmr_hub.data.base.split_by_hash`.

Without a table, the folder that an image is in is its class (`cat/a.png`, `train/cat/a.png`), as in ImageFolder of
`datasets` and torchvision, and the class's name is its text.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import datasets

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError, InputError
from cmr_hub.utils.images import SUFFIXES as IMAGE_SUFFIXES
from cmr_hub.utils.messages import name_some

from .base import SPLITS, DatasetInfo, Loader, ProgressCallback, split_by_hash
from .cells import is_blank, to_text
from .image_folders import find_images
from .paths import leads_out
from .table import SPLIT_NAMES, Columns, Pair, read_pairs, to_dataset, to_pairs
from .table_columns import IMAGE_COLUMNS, is_header
from .table_files import SUFFIXES, Row, read_rows

logger = logging.getLogger(__name__)

TABLES = tuple(f"metadata{suffix}" for suffix in SUFFIXES)
WORKBOOK = ".xlsx"
OTHER_SHEETS = (".xls", ".xlsm", ".xlsb", ".ods", ".numbers")


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
        return folder is not None and (has_table(folder) or bool(class_folders(folder)))

    def load(
        self,
        folder: Path | None,
        *,
        progress: ProgressCallback | None = None,
        label_separator: str | None = None,
        encoding: str | None = None,
        split: str | None = None,
    ) -> datasets.DatasetDict:
        """Load pairs; see the module's docstring.

        Args:
            folder: has the images and the table.
            progress: not used.
            label_separator: between class names in a cell of the column `labels`; ";" by default.
            encoding: of the table's text; found by default.
            split: of all pairs, where neither a column nor folders say it; by default a hash of the id decides.

        Raises:
            InputError: no folder, or an unknown split.
            DatasetError: there is no table and no folder per class, or the table cannot be used.
        """
        if folder is None:
            raise InputError(f"Data set 'folder' needs data_dir=<your folder>. {self.info.how_to_get}")
        if split is not None and split not in SPLITS:
            raise InputError(f"split is one of {', '.join(SPLITS)}, not {split!r}.")
        pairs, columns = _read(folder, label_separator, encoding)
        if not columns.split:
            _split_by_folders(pairs)
        result = to_dataset(self.info, pairs, columns.label, None, lambda item: split or split_by_hash(item))
        empty = [name for name in SPLITS if name not in result]
        if empty and not split and all(pair.split is None for pair in pairs):
            logger.warning(
                "%s: with %d pairs no pair falls into %s by its hash; add a column split to choose.",
                folder,
                len(pairs),
                " or ".join(empty),
            )
        return result


def has_table(folder: Path) -> bool:
    """Whether a folder holds a metadata table, or one for each split in a folder of its own."""
    return bool(_tables(folder) or _tables_of_splits(folder))


def find_table(folder: Path) -> Path:
    """The metadata table in the folder. A workbook next to a table of text is left aside: that was saved from it.

    Raises:
        DatasetError: there is none, there are two, or it is a symbolic link to a file outside.
    """
    tables = _tables(folder)
    texts = [table for table in tables if table.suffix.lower() != WORKBOOK]
    if len(texts) > 1:
        raise DatasetError(f"{folder} has both {' and '.join(table.name for table in texts)}; keep one of them.")
    if not tables:
        raise DatasetError(f"{folder} has no metadata.csv that says which text belongs to which image.{_hint(folder)}")
    table = [*texts, *tables][0]
    if len(tables) > 1:
        logger.warning("%s is read, and not the workbook next to it: save it again after you change that.", table)
    if leads_out(table, folder.resolve()):
        raise DatasetError(f"{table} is a symbolic link that leads out of the folder. Put the file in its place.")
    return table


def class_folders(folder: Path) -> list[tuple[str, str]]:
    """The images below a folder with their classes, where each is in the folder of its class.

    Returns:
        (path of an image relative to the folder, class); empty where some image is in no folder, not all are equally
        deep, or there is one class alone.
    """
    images = [path for path in _images(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    first = 1 if _are_in_splits(images) else 0
    is_classified = len({len(path.parts) for path in images}) == 1 and len(images[0].parts) > first + 1
    classes = [(str(path), path.parent.name) for path in images if is_classified]
    return classes if len({name for _, name in classes}) > 1 else []


def _read(folder: Path, label_separator: str | None, encoding: str | None) -> tuple[list[Pair], Columns]:
    if not _tables(folder):
        if tables := _tables_of_splits(folder):
            return to_pairs(folder, _rows_of_splits(tables, encoding), folder, label_separator)
        if classes := class_folders(folder):
            logger.warning(
                "%s has no metadata table: the folders of the images are their classes, and the classes' names their "
                "texts.",
                folder,
            )
            if others := [str(path) for path in _images(folder) if path.suffix.lower() not in IMAGE_SUFFIXES]:
                logger.warning(
                    "%s: %d images of formats that are not read are left out: %s. Save them as JPEG or PNG.",
                    folder,
                    len(others),
                    name_some(others),
                )
            rows = [(path, {"file_name": path, "text": _words(name), "label": name}) for path, name in classes]
            return to_pairs(folder, rows, folder)
    return read_pairs(find_table(folder), folder, label_separator, encoding)


def _images(folder: Path) -> list[PurePosixPath]:
    """The paths of all images in a folder, relative to it."""
    return [PurePosixPath(path.relative_to(folder).as_posix()) for path in find_images(folder)]


def _words(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")


def _tables(folder: Path) -> list[Path]:
    """The metadata tables in a folder, whatever the case of their names, in the order of `TABLES`."""
    found = {path.name.lower(): path for path in sorted(folder.glob("[mM]*")) if path.is_file()}
    return [found[name] for name in TABLES if name in found]


def _tables_of_splits(folder: Path) -> dict[str, Path]:
    """Folder of a split -> its table, where each has its own."""
    inner = [path for path in sorted(folder.iterdir()) if path.name.lower() in SPLIT_NAMES and path.is_dir()]
    return {path.name: find_table(path) for path in inner if _tables(path)}


def _rows_of_splits(tables: Mapping[str, Path], encoding: str | None) -> Iterator[Row]:
    """The rows of all tables, as one table in the folder above would have them."""
    for inner, table in tables.items():
        for where, row in read_rows(table, encoding):
            named = {
                column: f"{inner}/{to_text(cell)}" if column in IMAGE_COLUMNS and not is_blank(cell) else cell
                for column, cell in row.items()
            }
            yield where, {"split": inner, **named}


def _are_in_splits(paths: Sequence[PurePosixPath]) -> bool:
    return bool(paths) and all(len(path.parts) > 1 and path.parts[0].lower() in SPLIT_NAMES for path in paths)


def _split_by_folders(pairs: Sequence[Pair]) -> None:
    """Give pairs the split that the first folder of their path names, if each does."""
    paths = [PurePosixPath(pair.name) for pair in pairs]
    if _are_in_splits(paths):
        for pair, path in zip(pairs, paths, strict=True):
            pair.split = SPLIT_NAMES[path.parts[0].lower()]


def _hint(folder: Path) -> str:
    """What a person may have meant by a folder without a table."""
    if deeper := sorted(path for inner in folder.glob("*/") for path in _tables(inner)):
        return f" There is one at {deeper[0].relative_to(folder)}: give that folder, or move it up."
    if sheets := sorted(path.name for path in folder.glob("[!.~]*") if path.suffix.lower() in OTHER_SHEETS):
        return f" Save {sheets[0]} as metadata.csv ('CSV UTF-8')."
    if others := sorted(path.name for path in folder.glob("[!.~]*") if _may_be_table(path)):
        return f" Is it {' or '.join(others[:3])}? Call it metadata{Path(others[0]).suffix.lower()}."
    by_depth = sorted(_images(folder), key=lambda path: len(path.parts))
    if by_depth and len(by_depth[0].parts) < len(by_depth[-1].parts):
        pair = f"{by_depth[0]} and {by_depth[-1]}"
        return f" Or put each image into the folder of its class, all at the same depth: {pair} are at two."
    return " Or put the images into a folder per class, such as cat/a.png."


def _may_be_table(path: Path) -> bool:
    """Whether a file is one by its name or, of one that may be any text, by its columns."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    try:
        return path.suffix.lower() != ".txt" or is_header(next(read_rows(path), ("", {}))[1])
    except DatasetError:
        return False
