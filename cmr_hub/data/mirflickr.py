"""MIRFlickr-25K (Huiskes & Lew 2008): 25,000 images from Flickr with their tags, and 24 concepts to each.

The two official archives, unpacked side by side:

    mirflickr/im<i>.jpg                    the images, i = 1 … 25000
    mirflickr/meta/tags/tags<i>.txt        the tags of image i, one a line
    mirflickr/doc/common_tags.txt          the 1,386 tags that occur at least 20 times, each with its count
    <concept>.txt                          the numbers of the images in which a concept may be seen, one a line
    <concept>_r1.txt                       those in which it is prominent, of 14 concepts; not read

The four latter kinds come from `mirflickr25k_annotations_v080.zip`, which has no folder of its own; its files may also
lie in `annotations/`, `annotations_v080/` or `mirflickr25k_annotations_v080/`.

As DCMH and the hashing papers after it use it, an item is an image with at least one of the common tags and at least
one concept: 20,015 of the 25,000. `texts` is one text, these tags in their order; `text_features` is their bag of
words, in the order of `common_tags.txt`; `labels` are the 24 concepts of the first round.

The papers draw 2,000 queries at random and publish no list of them. Here they are the first 2,000 in the order of a
hash of the ids: "test". The papers search in the other 18,015: "train". They learn from 10,000 of these only (DJSRH
from 5,000): `train_rows` of `load_dataset` and of recipes takes the first rows of "train" for such a draw.
`mirflickr-dcmh` reads the split of DCMH's own file.

Tested against generated archives in the documented layout, not against the archives themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError

from .base import (
    TEXTS,
    DatasetInfo,
    Loader,
    ProgressCallback,
    build,
    label_features,
    query_split,
    vectors,
    warn_of_sizes,
)
from .download import cached, fetch_archive, fetch_once, open_client, source_of
from .paths import refuse_missing
from .text_files import read_lines, read_numbers

ARCHIVES = {"mirflickr25k.zip": 8 << 30, "mirflickr25k_annotations_v080.zip": 64 << 20}
MAX_FILES = 200_000  # tags, licence and camera of an image are files of their own
ANNOTATIONS = ("", "annotations", "annotations_v080", "mirflickr25k_annotations_v080")
COMMON_TAGS = "mirflickr/doc/common_tags.txt"
IMAGES = 25_000


@register_dataset("mirflickr")
class MIRFlickr(Loader):
    """`load_dataset("mirflickr")`: `id` is the image's number, as in "1042"."""

    info = DatasetInfo(
        name="mirflickr",
        title="MIRFlickr-25K (Huiskes & Lew 2008)",
        license="the photos are Flickr's under Creative Commons attribution licences, each named in meta/license/",
        homepage="https://press.liacs.nl/mirflickr/",
        source="https://press.liacs.nl/mirflickr/mirflickr25k.v3b/",
        how_to_get=(
            "Fetch mirflickr25k.zip and mirflickr25k_annotations_v080.zip from "
            "https://press.liacs.nl/mirflickr/mirdownload.html and unpack both into one folder."
        ),
        citation=(
            "M. J. Huiskes, M. S. Lew. The MIR Flickr Retrieval Evaluation. ACM International Conference on "
            "Multimedia Information Retrieval 2008."
        ),
        classes=(
            "animals",
            "baby",
            "bird",
            "car",
            "clouds",
            "dog",
            "female",
            "flower",
            "food",
            "indoor",
            "lake",
            "male",
            "night",
            "people",
            "plant_life",
            "portrait",
            "river",
            "sea",
            "sky",
            "structures",
            "sunset",
            "transport",
            "tree",
            "water",
        ),
        columns=("id", "image", "texts", "text_features", "labels"),
        sizes={"train": 18_015, "test": 2_000},
    )

    def is_available(self, folder: Path | None) -> bool:
        folder = folder or cached(self.info)
        return (folder / COMMON_TAGS).is_file() and find_annotations(self.info, folder) is not None

    def load(self, folder: Path | None, *, progress: ProgressCallback | None = None) -> datasets.DatasetDict:
        result = read_folder(self.info, folder or fetch_once(self.info, self._download, progress))
        warn_of_sizes(self.info, result)
        return result

    def _download(self, folder: Path, progress: ProgressCallback | None) -> None:
        base = source_of(self.info).rstrip("/")
        with open_client() as client:
            for archive, max_bytes in ARCHIVES.items():
                fetch_archive(client, f"{base}/{archive}", folder, max_bytes, is_read, progress, MAX_FILES)
        read_folder(self.info, folder)  # archives without the layout must not become the cached folder


def is_read(name: str) -> bool:
    """Whether a file of the archives is needed: the cameras' data and the tags as they were typed are not.

    Example:
    ```python
    >>> is_read("mirflickr/meta/tags/tags1.txt"), is_read("mirflickr/meta/tags_raw/tags1.txt")
    (True, False)
    ```
    """
    return not any(part in name for part in ("/tags_raw/", "/exif/", "/exif_raw/"))


def find_annotations(info: DatasetInfo, folder: Path) -> Path | None:
    """Where the concepts' files are; None where they are not."""
    for name in ANNOTATIONS:
        if all((folder / name / f"{concept}.txt").is_file() for concept in info.classes):
            return folder / name
    return None


def read_folder(info: DatasetInfo, folder: Path) -> datasets.DatasetDict:
    """Read the official layout.

    Raises:
        DatasetError: another layout, a list that is not one of numbers of images, tags or images that are missing,
            or no image with both tags and concepts.
    """
    annotations = find_annotations(info, folder)
    if annotations is None or not (folder / COMMON_TAGS).is_file():
        raise DatasetError(
            f"{folder} does not have the layout of MIRFlickr-25K: {COMMON_TAGS}, and a file <concept>.txt of each of "
            f"the {len(info.classes)} concepts. {info.how_to_get}"
        )
    concepts = _read_concepts(info, annotations)
    common = {line.split()[0]: column for column, line in enumerate(read_lines(folder / COMMON_TAGS))}
    tags = {str(number): _read_tags(folder, number, common) for number in sorted(concepts)}
    splits = query_split(info, [item_id for item_id, known in tags.items() if known])
    if not splits:
        raise DatasetError(f"{folder}: no image has both a concept and one of the {len(common):,} common tags.")
    images = [folder / "mirflickr" / f"im{item_id}.jpg" for item_id in splits]
    refuse_missing(folder, images)
    words = np.zeros((len(splits), len(common)), np.float32)
    for row, item_id in enumerate(splits):
        words[row, [common[tag] for tag in tags[item_id]]] = 1
    columns: dict[str, Sequence[Any] | np.ndarray] = {
        "id": list(splits),
        "image": [str(path) for path in images],
        "texts": [[" ".join(tags[item_id])] for item_id in splits],
        "text_features": words,
        "labels": [concepts[int(item_id)] for item_id in splits],
    }
    features = label_features(
        info.classes, several=True, image=datasets.Image(), texts=TEXTS, text_features=vectors(len(common))
    )
    return build(info, columns, list(splits.values()), features)


def _read_concepts(info: DatasetInfo, annotations: Path) -> dict[int, list[str]]:
    """Image's number -> its concepts, in the order of the classes."""
    concepts: dict[int, list[str]] = {}
    for concept in info.classes:
        path = annotations / f"{concept}.txt"
        for number in dict.fromkeys(read_numbers(path)):
            if not 1 <= number <= IMAGES:
                raise DatasetError(f"{path}: there is no image {number}, they are numbered 1 to {IMAGES}.")
            concepts.setdefault(number, []).append(concept)
    return concepts


def _read_tags(folder: Path, number: int, common: dict[str, int]) -> list[str]:
    tags = read_lines(folder / "mirflickr" / "meta" / "tags" / f"tags{number}.txt")
    return [tag for tag in dict.fromkeys(tags) if tag in common]
