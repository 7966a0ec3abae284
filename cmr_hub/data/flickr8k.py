"""Flickr8k (Hodosh et al. 2013): 8,000 photos of people and animals doing something, five captions each, no classes.

The archives `Flickr8k_Dataset.zip` and `Flickr8k_text.zip` unpack to:

    Flicker8k_Dataset/<name>.jpg                   8,091 photos, spelled so
    Flickr8k.token.txt                             name.jpg#0, a tab, the caption
    Flickr_8k.{train,dev,test}Images.txt           6,000, 1,000 and 1,000 names; the other photos are left out

What is passed on at Kaggle is read too: `Images/` beside `captions.txt` (image,caption), which has no split unless the
three lists, or Karpathy's `dataset_flickr8k.json` (see `cmr_hub.data.karpathy`), are next to it. Tested on the
complete data set in the official layout, with scaled photos, and on generated files in both layouts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2

from cmr_hub.data import register_dataset

from .base import DatasetInfo, ProgressCallback
from .captions import CaptionedLoader, CaptionFiles, read_tokens
from .download import fetch_archive, source_of
from .karpathy import read_listing
from .table_files import Row, read_rows

MAX_BYTES = 4 << 30
STRAY = "2258277193_586949ec62.jpg.1"  # has captions, and no photo in the archive


def read_official(path: Path) -> Iterator[Row]:
    """`Flickr8k.token.txt` without the captions of a photo that there is not."""
    return (row for row in read_tokens(path) if row[1]["image"] != STRAY)


@register_dataset("flickr8k")
class Flickr8k(CaptionedLoader):
    """`load_dataset("flickr8k")`: `id` is the photo's file name. Captions that repeat within a photo count once."""

    info = DatasetInfo(
        name="flickr8k",
        title="Flickr8k",
        license="for non-commercial research and education; the photos are Flickr's, under their owners' terms",
        homepage="http://hockenmaier.cs.illinois.edu/8k-pictures.html",
        source="https://github.com/jbrownlee/Datasets/releases/download/Flickr8k",
        how_to_get=(
            "Unpack Flickr8k_Dataset.zip and Flickr8k_text.zip, of its authors or from "
            "https://github.com/jbrownlee/Datasets/releases/tag/Flickr8k, into one folder."
        ),
        citation=(
            "M. Hodosh, P. Young, J. Hockenmaier. Framing Image Description as a Ranking Task: Data, Models and "
            "Evaluation Metrics. Journal of Artificial Intelligence Research 47, 2013."
        ),
        columns=("id", "image", "texts"),
        sizes={"train": 6000, "validation": 1000, "test": 1000},
    )
    files = CaptionFiles(
        images=("Flicker8k_Dataset", "Images", "images"),
        captions={
            "dataset_flickr8k.json": read_listing,
            "Flickr8k.token.txt": read_official,
            "captions.txt": read_rows,
            "captions.csv": read_rows,
        },
        lists={
            "train": "Flickr_8k.trainImages.txt",
            "validation": "Flickr_8k.devImages.txt",
            "test": "Flickr_8k.testImages.txt",
        },
    )

    def fetch(self, client: httpx2.Client, folder: Path, progress: ProgressCallback | None) -> None:
        for archive in ("Flickr8k_text.zip", "Flickr8k_Dataset.zip"):
            url = f"{source_of(self.info).rstrip('/')}/{archive}"
            fetch_archive(client, url, folder, MAX_BYTES, progress=progress)
