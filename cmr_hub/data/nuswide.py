r"""NUS-WIDE (Chua et al. 2009): 269,648 images from Flickr with tags and 81 concepts; the parts that papers use.

The official files, unpacked into one folder, which serves all three parts:

    Groundtruth/AllLabels/Labels_<concept>.txt     a row an image: 1 where the concept is seen, 0 where not
    NUS_WID_Tags/AllTags1k.txt (or .dat)           a row an image: 1,000 times 0 or 1
    NUS_WID_Tags/TagList1k.txt                     the 1,000 tags, in the order of these columns
    ImageList/Imagelist.txt                        a row an image: its path, as in actor\0001_2124494179.jpg
    Low_Level_Features/BoW_int.dat                 optional, a row an image: 500 counts of SIFT words
    Flickr/<dir>/<name>.jpg                        optional, the images, which the authors send on request

`texts` is one text, an image's tags in the order of the list, and `text_features` their bag of words.
`image_features` and `image` are there where their files are; pairs whose image is missing are then left out, without
a change to the split of the others.

| part | pairs | concepts | test | train |
|---|---|---|---|---|
| `nuswide-tc21` | 195,834 with at least one of the 21 most frequent concepts | 21, several a pair | 2,100 | 193,734 |
| `nuswide-tc10` | 186,577 with at least one of the 10 most frequent concepts | 10, several a pair | 2,000 | 184,577 |
| `nuswide-10k` | 1,000 of each concept | 10, one a pair | 1,000 | 8,000, validation 1,000 |

TC-21 is DCMH's. Its 195,834 are chosen by their concepts alone: 5,413 of them have none of the 1,000 tags, and their
text is empty. TC-10 is that of DJSRH and the unsupervised hashing papers. In both, papers draw the queries at random
and publish no list of them; here they are the first in the order of a hash of the ids: "test". The papers search in
all others: "train". They learn from 10,500 (TC-21) and 5,000 (TC-10) of these only: `train_rows` of `load_dataset` and
of recipes takes the first rows of "train" for such a draw. `nuswide-dcmh` reads DCMH's own file.

The 10k part is that of Corr-AE, ACMR and DSCMR: pairs with exactly one of the 81 concepts, from the ten concepts that
have most of them, drawn at random. Here those with at least one tag are put in the order of a hash of their ids: the
first 1,000 of each concept are taken and split as Pascal Sentence is, by a hash within each concept.

Tested against generated files in the documented layout, not against the official ones.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
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
    hash_order,
    label_features,
    query_split,
    vectors,
    warn_of_sizes,
)
from .download import at_hand, cached
from .pascal import split_by_class
from .paths import unsafe_reason
from .progress import stepwise
from .text_files import read_lines

CONCEPTS = 81
OF_EACH = 1_000  # pairs of each concept in the 10k part
IMAGE_LIST = "ImageList/Imagelist.txt"
LABELS = "Groundtruth/AllLabels"
TAG_LIST = "NUS_WID_Tags/TagList1k.txt"
TAGS = ("NUS_WID_Tags/AllTags1k.txt", "NUS_WID_Tags/AllTags1k.dat")
SIFT = "Low_Level_Features/BoW_int.dat"
MAX_LINE_BYTES = 16_384

TC10 = ("animal", "buildings", "clouds", "grass", "lake", "person", "plants", "sky", "water", "window")
TC21 = (
    "animal",
    "beach",
    "buildings",
    "clouds",
    "flowers",
    "grass",
    "lake",
    "mountain",
    "ocean",
    "person",
    "plants",
    "reflection",
    "road",
    "rocks",
    "sky",
    "snow",
    "sunset",
    "tree",
    "vehicle",
    "water",
    "window",
)
SINGLE = ("animal", "clouds", "flowers", "food", "grass", "person", "sky", "toy", "water", "window")

Chosen = tuple[dict[str, str], dict[str, Any]]  # id -> split, and id -> what stands in its label column


def describe(part: str, title: str, classes: tuple[str, ...], label: str, sizes: dict[str, int]) -> DatasetInfo:
    """What a part of NUS-WIDE is; all but these facts is the same of each."""
    return DatasetInfo(
        name=f"nuswide-{part}",
        title=f"NUS-WIDE, {title}",
        license="for research, by the agreement that its authors ask for; the photos are Flickr's, of their owners",
        homepage="https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html",
        source="https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html",
        by_hand=True,
        how_to_get=(
            "Fetch Groundtruth, Tags, Image List and, for image features, Low-Level Features from "
            "https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html and unpack them into "
            "one folder, so that it has Groundtruth/AllLabels, NUS_WID_Tags, ImageList and Low_Level_Features. The "
            "images come from the authors on request, as a folder Flickr; put it next to them."
        ),
        citation=(
            "T.-S. Chua, J. Tang, R. Hong, H. Li, Z. Luo, Y.-T. Zheng. NUS-WIDE: A Real-World Web Image Database "
            "from National University of Singapore. ACM International Conference on Image and Video Retrieval 2009."
        ),
        classes=classes,
        columns=("id", "image", "texts", "image_features", "text_features", label),
        sizes=sizes,
    )


class NUSWIDE(Loader):
    """A part of NUS-WIDE; `id` is the image's path without ".jpg", as in "actor/0001_2124494179"."""

    def is_available(self, folder: Path | None) -> bool:
        return not lacking(folder or cached(self.info))

    def load(self, folder: Path | None, *, progress: ProgressCallback | None = None) -> datasets.DatasetDict:
        folder = at_hand(self.info, folder)
        if missing := lacking(folder):
            raise DatasetError(
                f"{folder} does not have the layout of NUS-WIDE: there is no {missing[0]} in it. "
                f"{self.info.how_to_get}"
            )
        return self.read(folder, progress)

    @abstractmethod
    def choose(self, folder: Path, ids: Sequence[str]) -> Chosen:
        """The pairs of this part, in the order of the rows, their splits and their labels.

        Args:
            folder: holds the official files.
            ids: of all images, in the order of the official files.
        """

    def read(self, folder: Path, progress: ProgressCallback | None) -> datasets.DatasetDict:
        """Read the official layout.

        Raises:
            DatasetError: files that do not agree with each other, values that are none of theirs, or no pair at all.
        """
        ids = read_ids(folder / IMAGE_LIST)
        splits, labels = self.choose(folder, ids)
        images = {item_id: folder / "Flickr" / f"{item_id}.jpg" for item_id in splits}
        whole, note = list(splits), ""
        if (folder / "Flickr").is_dir():
            whole = [item_id for item_id in splits if images[item_id].is_file()]
            note = f"{len(splits) - len(whole):,} pairs have no image in Flickr/ and are left out."
        if not whole:
            raise DatasetError(f"{folder}: not one pair of {self.info.title} is whole. {note}".rstrip())
        rows = row_numbers(ids, whole)
        tag_list = read_lines(folder / TAG_LIST)
        tags = read_rows(tags_file(folder), len(ids), rows, len(tag_list), as_bits, progress)
        columns: dict[str, Any] = {
            "id": whole,
            "image": [str(images[item_id]) for item_id in whole],
            "texts": [[" ".join(tag_list[column] for column in np.flatnonzero(row))] for row in tags],
            "text_features": tags,
            self.info.columns[-1]: [labels[item_id] for item_id in whole],
        }
        types: dict[str, Any] = {"texts": TEXTS, "text_features": vectors(len(tag_list))}
        if (folder / "Flickr").is_dir():
            types["image"] = datasets.Image()
        if (folder / SIFT).is_file():
            columns["image_features"] = read_rows(folder / SIFT, len(ids), rows, 500, as_counts, progress)
            types["image_features"] = vectors(500)
        types = {name: types[name] for name in self.info.columns if name in types}
        several = self.info.columns[-1] == "labels"
        features = label_features(self.info.classes, several, **types)
        result = build(self.info, columns, [splits[item_id] for item_id in whole], features)
        warn_of_sizes(self.info, result, note)
        return result


class MostFrequent(NUSWIDE):
    """All pairs with at least one of the part's concepts, the most frequent ones."""

    def choose(self, folder: Path, ids: Sequence[str]) -> Chosen:
        seen = np.stack([read_concept(folder, concept, len(ids)) for concept in self.info.classes], axis=1)
        labels = {item_id: np.flatnonzero(row).tolist() for item_id, row in zip(ids, seen, strict=True) if row.any()}
        return query_split(self.info, labels), labels


@register_dataset("nuswide-tc21")
class NUSWIDETC21(MostFrequent):
    """`load_dataset("nuswide-tc21")`."""

    info = describe("tc21", "21 most frequent concepts", TC21, "labels", {"train": 193_734, "test": 2_100})


@register_dataset("nuswide-tc10")
class NUSWIDETC10(MostFrequent):
    """`load_dataset("nuswide-tc10")`."""

    info = describe("tc10", "10 most frequent concepts", TC10, "labels", {"train": 184_577, "test": 2_000})


@register_dataset("nuswide-10k")
class NUSWIDE10k(NUSWIDE):
    """`load_dataset("nuswide-10k")`."""

    info = describe(
        "10k", "10,000 pairs of one concept", SINGLE, "label", {"train": 8_000, "validation": 1_000, "test": 1_000}
    )

    def choose(self, folder: Path, ids: Sequence[str]) -> Chosen:
        files = sorted((folder / LABELS).glob("Labels_*.txt"))
        if len(files) != CONCEPTS:
            raise DatasetError(f"{folder / LABELS} has {len(files)} files Labels_<concept>.txt, not {CONCEPTS}.")
        concepts = {path.stem.removeprefix("Labels_"): path for path in files}
        seen = {concept: read_concept(folder, concept, len(ids)) for concept in concepts}
        single = np.sum(list(seen.values()), axis=0, dtype=np.int64) == 1
        candidates = np.flatnonzero(single & np.any([seen[concept] for concept in self.info.classes], axis=0))
        width = len(read_lines(folder / TAG_LIST))
        tagged = read_rows(tags_file(folder), len(ids), candidates, width, as_bits).any(axis=1)
        drawn: dict[str, list[str]] = {concept: [] for concept in self.info.classes}
        for row in sorted(candidates[tagged].tolist(), key=lambda row: hash_order(ids[row])):
            concept = next(concept for concept in self.info.classes if seen[concept][row])
            if len(drawn[concept]) < OF_EACH:
                drawn[concept].append(ids[row])
        labels = {item_id: concept for concept, members in drawn.items() for item_id in members}
        by_class = split_by_class([f"{concept}/{item_id}" for item_id, concept in labels.items()])
        return {item_id: by_class[f"{concept}/{item_id}"] for item_id, concept in labels.items()}, labels


def lacking(folder: Path) -> list[str]:
    """The needed files and folders that are not in `folder`."""
    needed = [name for name in (IMAGE_LIST, LABELS, TAG_LIST) if not (folder / name).exists()]
    return needed if tags_file(folder).is_file() else [*needed, TAGS[0]]


def tags_file(folder: Path) -> Path:
    """The matrix of tags, whichever ending it has."""
    return next((folder / name for name in TAGS if (folder / name).is_file()), folder / TAGS[0])


def read_ids(path: Path) -> list[str]:
    """Ids in the order of the official list of images.

    Raises:
        DatasetError: a row is no path of a JPEG image inside the folder, or two are the same.
    """
    ids = [line.replace("\\", "/").removesuffix(".jpg") for line in read_lines(path)]
    for number, item_id in enumerate(ids, start=1):
        if reason := unsafe_reason(item_id):
            raise DatasetError(f"{path}, row {number}: the path {item_id[:80]!r} is refused, {reason}.")
    if len(set(ids)) < len(ids):
        raise DatasetError(f"{path} lists an image twice.")
    return ids


def row_numbers(ids: Sequence[str], chosen: Sequence[str]) -> np.ndarray:
    """`(len(chosen),)` int64, the row of each chosen id."""
    row_of = {item_id: row for row, item_id in enumerate(ids)}
    return np.array([row_of[item_id] for item_id in chosen], np.int64)


def read_concept(folder: Path, concept: str, images: int) -> np.ndarray:
    """`(images,)` booleans, in which images a concept is seen.

    Raises:
        DatasetError: the file is missing, or is not so many times 0 or 1.
    """
    path = folder / LABELS / f"Labels_{concept}.txt"
    if not path.is_file():
        raise DatasetError(f"{path} is missing. Unpack the whole archive.")
    if path.stat().st_size > 4 * images + MAX_LINE_BYTES:
        raise DatasetError(f"{path} is too large for {images:,} rows of 0 or 1.")
    values = path.read_bytes().split()
    if len(values) != images or not set(values) <= {b"0", b"1"}:
        raise DatasetError(f"{path} is not a 0 or 1 for each of the {images:,} images in {IMAGE_LIST}.")
    return np.array(values) == b"1"


def as_bits(line: bytes) -> np.ndarray:
    r"""A row of zeros and ones, whatever white space stands between them.

    Raises:
        ValueError: there is anything else in it.

    Example:
    ```python
    >>> as_bits(b"0\t1\t1\t\n").tolist()
    [0, 1, 1]
    ```
    """
    bits = np.frombuffer(line.translate(None, b" \t\r\n"), np.uint8) - ord("0")
    if (bits > 1).any():
        raise ValueError("a value is neither 0 nor 1")
    return bits


def as_counts(line: bytes) -> np.ndarray:
    r"""A row of counts, with white space between them.

    Raises:
        ValueError: one is no whole number.

    Example:
    ```python
    >>> as_counts(b"3 0 12 \n").tolist()
    [3, 0, 12]
    ```
    """
    fields = line.split()
    if not all(field.isdigit() and len(field) < 10 for field in fields):
        raise ValueError("a value is no whole number")
    return np.array(fields, np.int64)


def read_rows(
    path: Path,
    images: int,
    rows: np.ndarray,
    width: int,
    values_of: Callable[[bytes], np.ndarray],
    progress: ProgressCallback | None = None,
) -> np.ndarray:
    """Some rows of a matrix that has one of each image; the others are read past.

    Args:
        path: the file, one row per line.
        images: how many rows the file must have.
        rows: `(n,)` int64, those that are wanted, in any order.
        width: values in a row.
        values_of: a line -> its values; raises ValueError where it has others.
        progress: called with the share of rows that is read.

    Returns:
        `(n, width)` float32, in the order of `rows`.

    Raises:
        DatasetError: another number of rows or of values, or values that are none of the file's.
    """
    place = np.full(images, -1)
    place[rows] = np.arange(len(rows))
    result = np.empty((len(rows), width), np.float32)
    with path.open("rb") as file, stepwise(f"Reading {path.name}", " rows", progress) as at:
        for number in range(1, images + 1):
            line = file.readline(MAX_LINE_BYTES)
            if not line.strip():
                raise DatasetError(f"{path} has {number - 1:,} rows, but {IMAGE_LIST} lists {images:,} images.")
            if place[number - 1] >= 0:
                try:
                    values = values_of(line)
                except ValueError as error:
                    raise DatasetError(f"{path}, row {number}: {error}.") from error
                if len(values) != width:
                    raise DatasetError(f"{path}, row {number}: it has {len(values)} values, not {width}.")
                result[place[number - 1]] = values
            if number % 1000 == 0 or number == images:
                at(number, images)
        if file.read(MAX_LINE_BYTES).strip():
            raise DatasetError(f"{path} has more rows than the {images:,} images of {IMAGE_LIST}.")
    return result
