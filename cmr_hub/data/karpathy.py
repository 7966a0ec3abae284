"""Karpathy and Fei-Fei's `dataset_<name>.json` (CVPR 2015): captions and splits of Flickr8k, Flickr30k and MS-COCO.

`caption_datasets.zip` holds the three files. Papers on retrieval by captions count by these splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import httpx2
import msgspec

from .base import DatasetInfo, ProgressCallback
from .download import address_of, fetch_archive
from .json_files import read_json
from .table_files import Row

URL = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
MAX_BYTES = 1 << 30
SPLITS = {"train": "train", "restval": "train", "val": "validation", "test": "test"}
CAPTIONS = 5  # of images that have more, papers take the first five


class Sentence(msgspec.Struct):
    """One caption."""

    raw: str


class Image(msgspec.Struct):
    """One image; `filepath` is the folder that it lies in, of MS-COCO."""

    filename: str
    split: Literal["train", "restval", "val", "test"]
    sentences: list[Sentence]
    filepath: str = ""

    def place(self) -> str:
        """Its path, as the file gives it."""
        return str(PurePosixPath(self.filepath, self.filename))


class Listing(msgspec.Struct):
    """The file as a whole."""

    images: list[Image]


def read_listing(path: Path, place: Callable[[Image], str] = Image.place) -> Iterator[Row]:
    """One row an image: where it lies, its file name as its id, its first five captions, its split.

    Args:
        path: the file.
        place: gives the path of an image, where it is not the one of the file.

    Raises:
        DatasetError: the file is no JSON, or of another layout.
    """
    for number, image in enumerate(read_json(path, Listing).images, start=1):
        found = place(image)
        row = {
            "image": found,
            "id": PurePosixPath(found).name,
            "captions": [sentence.raw for sentence in image.sentences[:CAPTIONS]],
            "split": SPLITS[image.split],
        }
        yield f"{path}, image {number}", row


def fetch_listing(
    client: httpx2.Client, info: DatasetInfo, folder: Path, name: str, progress: ProgressCallback | None = None
) -> None:
    """Download the file `name` of the three into `folder`.

    Raises:
        DownloadError: see [`fetch_archive`].
    """
    fetch_archive(client, address_of(info, URL), folder, MAX_BYTES, lambda entry: entry == name, progress)
