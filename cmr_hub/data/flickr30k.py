"""Flickr30k (Young et al. 2014): 31,783 photos of people and animals doing something, five captions each, no classes.

    flickr30k-images/<name>.jpg
    dataset_flickr30k.json     Karpathy's: captions and the split that papers count by, 29,000 / 1,014 / 1,000 photos;
                               the other 769 are left out (see `cmr_hub.data.karpathy`)

The download takes the photos from the Hub repo `nlphuji/flickr30k`, as its authors hand them out only after a form.
Without Karpathy's file the captions are read from the authors' `results_20130124.token` (name.jpg#0, a tab, the
caption) or, as passed on at Kaggle, `results.csv` (name.jpg| 0| caption) or `captions.txt` (image,caption), which have
no split. Tested against generated archives in these layouts, not against the archives themselves.
"""

from __future__ import annotations

from pathlib import Path

import httpx2

from cmr_hub.data import register_dataset

from .base import DatasetInfo, ProgressCallback
from .captions import CaptionedLoader, CaptionFiles, read_bars, read_tokens
from .download import address_of, fetch_archive
from .karpathy import fetch_listing, read_listing
from .table_files import read_rows

PHOTOS_URL = "https://huggingface.co/datasets/nlphuji/flickr30k/resolve/main/flickr30k-images.zip"
MAX_BYTES = 16 << 30
LISTING = "dataset_flickr30k.json"


@register_dataset("flickr30k")
class Flickr30k(CaptionedLoader):
    """`load_dataset("flickr30k")`: `id` is the photo's file name. Captions that repeat within a photo count once."""

    info = DatasetInfo(
        name="flickr30k",
        title="Flickr30k",
        license="for non-commercial research and education; the photos are Flickr's, under their owners' terms",
        homepage="https://shannon.cs.illinois.edu/DenotationGraph/",
        source="https://huggingface.co/datasets/nlphuji/flickr30k",
        how_to_get=(
            "Unpack flickr30k-images, of its authors or from https://huggingface.co/datasets/nlphuji/flickr30k, and "
            f"{LISTING} of https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip into one folder."
        ),
        citation=(
            "P. Young, A. Lai, M. Hodosh, J. Hockenmaier. From Image Descriptions to Visual Denotations: New "
            "Similarity Metrics for Semantic Inference over Event Descriptions. Transactions of the ACL 2, 2014. "
            "Split: A. Karpathy, L. Fei-Fei. Deep Visual-Semantic Alignments for Generating Image Descriptions. "
            "CVPR 2015."
        ),
        columns=("id", "image", "texts"),
        sizes={"train": 29000, "validation": 1014, "test": 1000},
    )
    files = CaptionFiles(
        images=("flickr30k-images", "flickr30k_images", "Images", "images"),
        captions={
            LISTING: read_listing,
            "results_20130124.token": read_tokens,
            "results.csv": read_bars,
            "captions.txt": read_rows,
            "captions.csv": read_rows,
        },
    )

    def fetch(self, client: httpx2.Client, folder: Path, progress: ProgressCallback | None) -> None:
        fetch_listing(client, self.info, folder, LISTING, progress)
        fetch_archive(client, address_of(self.info, PHOTOS_URL), folder, MAX_BYTES, progress=progress)
