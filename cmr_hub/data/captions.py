"""Images with several captions each and no classes, in the layouts that such data sets are released in.

A layout is a folder of images next to a file of captions, and perhaps lists of the splits. They are looked for in the
folder that is given and two levels below it, by their names. What a caption file says row by row goes through the same
checks as anyone's own table, see `cmr_hub.data.table`.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import datasets
import httpx2

from cmr_hub.errors import DatasetError
from cmr_hub.utils.messages import name_some

from .base import DatasetInfo, Loader, ProgressCallback, split_by_hash, warn_of_sizes
from .download import cached, fetch_once, open_client
from .table import to_dataset, to_pairs
from .table_columns import IMAGE_COLUMNS
from .table_files import Row, read_text

TOKENS = re.compile(r"(?P<image>[^#\t]+)#\d+\t(?P<caption>.*)")
# One row of Kaggle's results.csv lacks its second bar: "2199200615.jpg| 4   A dog runs across the grass ."
BARS = re.compile(r"(?P<image>[^|]*[^|\s])\s*\|\s*\d+\s*\|?\s*(?P<caption>.*)")
BARS_HEADER = re.compile(r"image_name\s*\|")


@dataclass(frozen=True)
class CaptionFiles:
    """The names that a data set's files have.

    Attributes:
        images: folders of images, any of them.
        captions: file of captions -> its reader; of several that are there the first is read.
        lists: split -> file with the names of its images, one a line; all or none of them are there.
    """

    images: tuple[str, ...]
    captions: Mapping[str, Callable[[Path], Iterable[Row]]]
    lists: Mapping[str, str] = field(default_factory=dict)

    def find(self, folder: Path) -> tuple[Path, Path] | None:
        """The folder of images and the file of captions."""
        images = find_below(folder, self.images, _holds_images)
        captions = find_below(folder, self.captions)
        return (images, captions) if images and captions else None

    def splits(self, folder: Path) -> dict[str, str]:
        """Image -> split by the lists; empty where there are none.

        Raises:
            DatasetError: some of the lists are missing, or an image is in two.
        """
        wanted = {split: find_below(folder, [name]) for split, name in self.lists.items()}
        found = {split: path for split, path in wanted.items() if path is not None}
        missing = [self.lists[split] for split in wanted if split not in found]
        if not found:
            return {}
        if missing:
            raise DatasetError(f"{folder} lacks {name_some(missing)}; put it beside the other lists, or none.")
        splits: dict[str, str] = {}
        for split, path in found.items():
            for name in read_text(path, "utf-8").split():
                if splits.setdefault(name, split) != split:
                    raise DatasetError(f"{path}: {name} is in the list of the {splits[name]} split too.")
        return splits


class CaptionedLoader(Loader):
    """A data set of images with captions. A subclass says what its files are called and how they are fetched."""

    files: ClassVar[CaptionFiles]

    def is_available(self, folder: Path | None) -> bool:
        return self.files.find(folder or cached(self.info)) is not None

    def load(self, folder: Path | None, *, progress: ProgressCallback | None = None) -> datasets.DatasetDict:
        return read_captioned(self.info, self.files, folder or fetch_once(self.info, self._download, progress))

    def _download(self, folder: Path, progress: ProgressCallback | None) -> None:
        with open_client() as client:
            self.fetch(client, folder, progress)
        read_captioned(self.info, self.files, folder)  # what lacks the layout must not become the cached folder

    @abstractmethod
    def fetch(self, client: httpx2.Client, folder: Path, progress: ProgressCallback | None) -> None:
        """Download everything into `folder`.

        Raises:
            DownloadError: the source cannot be reached or sent something else than expected.
        """


def read_captioned(info: DatasetInfo, files: CaptionFiles, folder: Path) -> datasets.DatasetDict:
    """Read the layout that the folder has.

    The split is the one that the caption file or the lists give, and images that the lists do not name are left out;
    without either it is by a hash of the images' names, which a warning says.

    Raises:
        DatasetError: another layout; unusable captions or lists; images that have captions and are not there.
    """
    found = files.find(folder)
    if found is None:
        raise DatasetError(
            f"{folder} does not have the layout of {info.title}: a folder {' or '.join(files.images)} with .jpg "
            f"images, and captions in {' or '.join(files.captions)}. {info.how_to_get}"
        )
    images, table = found
    rows, splits = files.captions[table.name](table), files.splits(folder)
    if splits:
        rows = [row for row in rows if any(row[1].get(column) in splits for column in IMAGE_COLUMNS)]
    pairs, columns = to_pairs(table, rows, images)
    result = to_dataset(info, pairs, None, None, lambda name: splits.get(name) or split_by_hash(name))
    by_hash = (
        "The official split is not in the folder: pairs are split 70/10/20 by a hash of their names, and figures are "
        f"not to be compared with published ones. {info.how_to_get}"
    )
    warn_of_sizes(info, result, "" if splits or columns.split else by_hash)
    return result


def read_tokens(path: Path) -> Iterator[Row]:
    """The authors' own layout: `name.jpg#0`, a tab, the caption."""
    return _read_lines(path, TOKENS, "'image#number', a tab and a caption")


def read_bars(path: Path) -> Iterator[Row]:
    """The layout on Kaggle: a header, then `name.jpg| 0| caption`."""
    return _read_lines(path, BARS, "'image| number| caption'", BARS_HEADER)


def _read_lines(path: Path, line_of: re.Pattern, called: str, header: re.Pattern | None = None) -> Iterator[Row]:
    for number, line in enumerate(read_text(path, "utf-8").split("\n"), start=1):
        if not line.strip() or (number == 1 and header and header.match(line)):
            continue
        match = line_of.fullmatch(line.rstrip("\r"))
        if match is None:
            raise DatasetError(f"{path}, line {number}: {line[:80]!r} is not {called}.")
        yield f"{path}, line {number}", match.groupdict()


def find_below(
    folder: Path, names: Iterable[str], is_usable: Callable[[Path], bool] = Path.is_file, depth: int = 2
) -> Path | None:
    """The first of `names` that is in `folder` or at most `depth` levels below it; the leftovers of a Mac are not."""
    for name in names:
        for level in range(depth + 1):
            for path in sorted(folder.glob("*/" * level + name)):
                if is_usable(path) and "__MACOSX" not in path.parts:
                    return path
    return None


def _holds_images(folder: Path) -> bool:
    return next(folder.glob("*.jpg"), None) is not None
