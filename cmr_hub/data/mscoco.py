"""MS-COCO (Lin et al. 2014): 123,287 photos, five captions each, in which objects of 80 categories are marked.

    train2014/COCO_train2014_<id>.jpg  and  val2014/COCO_val2014_<id>.jpg    82,783 and 40,504 photos
    train2017/<id>.jpg  and  val2017/<id>.jpg        or the same photos as released in 2017: 118,287 and 5,000
    dataset_coco.json                  Karpathy's: captions and the split that papers on captions count by, 113,287 /
                                       5,000 / 5,000 photos (see `cmr_hub.data.karpathy`)
    annotations/instances_<part>.json  the objects, for `labels`
    annotations/captions_<part>.json   the official captions, read where Karpathy's file is absent: then the part
                                       train<year> trains and val<year> tests

Papers that give "5K" search all of Karpathy's 5,000 test photos; "1K" is the mean over its five thousands. Of photos
with more captions they count the first five, and so do we.

A category counts for a photo as soon as one object of it is marked, or a crowd of them (`iscrowd`). In about a
thousand photos none is: they have no `labels` and are of one class with no other, so papers on hashing by categories
leave them out, as does `load_dataset("mscoco", labelled_only=True)`.

A part whose folder is absent is left out, so that Karpathy's test split can be measured with val2014 alone. Karpathy's
file names the photos of 2014; those of 2017 are found by their numbers. Where both releases are there, that of 2014 is
read. Photos that no file lists are not read; photos without a caption are left out, and a warning counts them. Tested
against generated archives in these layouts, not against the archives themselves.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import datasets
import msgspec

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError

from .base import DatasetInfo, Loader, ProgressCallback, split_by_hash, warn_of_sizes
from .captions import find_below
from .download import address_of, cached, fetch_archive, fetch_once, open_client
from .json_files import read_json
from .karpathy import CAPTIONS, Image, fetch_listing, read_listing
from .table import to_dataset, to_pairs
from .table_files import Row

RELEASES = (  # part -> its split without Karpathy's file
    {"train2014": "train", "val2014": "test"},
    {"train2017": "train", "val2017": "test"},
)
OFFICIAL_SPLITS = {part: split for release in RELEASES for part, split in release.items()}
LISTING = "dataset_coco.json"
NUMBER = re.compile(r"([0-9]+)\.jpg$")
PHOTOS_URL = "http://images.cocodataset.org/zips/{part}.zip"
ANNOTATIONS_URL = "http://images.cocodataset.org/annotations/annotations_trainval2014.zip"
MAX_BYTES = 32 << 30


class Photo(msgspec.Struct):
    """An image of an annotation file."""

    id: int
    file_name: str


class Caption(msgspec.Struct):
    """One caption of an image."""

    image_id: int
    caption: str


class CaptionFile(msgspec.Struct):
    """`captions_<part>.json`."""

    images: list[Photo]
    annotations: list[Caption]


class Instance(msgspec.Struct):
    """One object in an image."""

    image_id: int
    category_id: int


class Category(msgspec.Struct):
    """What an object may be."""

    id: int
    name: str


class InstanceFile(msgspec.Struct):
    """`instances_<part>.json`."""

    images: list[Photo]
    annotations: list[Instance]
    categories: list[Category]


@register_dataset("mscoco")
class MSCOCO(Loader):
    """`load_dataset("mscoco")`: `id` is the photo's file name. Captions that repeat within a photo count once."""

    info = DatasetInfo(
        name="mscoco",
        title="MS-COCO",
        license="annotations CC BY 4.0; the photos are Flickr's, under their owners' terms",
        homepage="https://cocodataset.org",
        source="http://images.cocodataset.org",
        how_to_get=(
            "Unpack train2014.zip and val2014.zip of http://images.cocodataset.org/zips/, "
            f"annotations_trainval2014.zip of http://images.cocodataset.org/annotations/, and {LISTING} of "
            "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip into one folder; 21 GB. The "
            "same archives of 2017 are read too."
        ),
        citation=(
            "T.-Y. Lin, M. Maire, S. Belongie, J. Hays, P. Perona, D. Ramanan, P. Dollár, C. L. Zitnick. Microsoft "
            "COCO: Common Objects in Context. ECCV 2014. Split: A. Karpathy, L. Fei-Fei. Deep Visual-Semantic "
            "Alignments for Generating Image Descriptions. CVPR 2015."
        ),
        classes=(
            "person",
            "bicycle",
            "car",
            "motorcycle",
            "airplane",
            "bus",
            "train",
            "truck",
            "boat",
            "traffic light",
            "fire hydrant",
            "stop sign",
            "parking meter",
            "bench",
            "bird",
            "cat",
            "dog",
            "horse",
            "sheep",
            "cow",
            "elephant",
            "bear",
            "zebra",
            "giraffe",
            "backpack",
            "umbrella",
            "handbag",
            "tie",
            "suitcase",
            "frisbee",
            "skis",
            "snowboard",
            "sports ball",
            "kite",
            "baseball bat",
            "baseball glove",
            "skateboard",
            "surfboard",
            "tennis racket",
            "bottle",
            "wine glass",
            "cup",
            "fork",
            "knife",
            "spoon",
            "bowl",
            "banana",
            "apple",
            "sandwich",
            "orange",
            "broccoli",
            "carrot",
            "hot dog",
            "pizza",
            "donut",
            "cake",
            "chair",
            "couch",
            "potted plant",
            "bed",
            "dining table",
            "toilet",
            "tv",
            "laptop",
            "mouse",
            "remote",
            "keyboard",
            "cell phone",
            "microwave",
            "oven",
            "toaster",
            "sink",
            "refrigerator",
            "book",
            "clock",
            "vase",
            "scissors",
            "teddy bear",
            "hair drier",
            "toothbrush",
        ),
        columns=("id", "image", "texts", "labels"),
        sizes={"train": 113287, "validation": 5000, "test": 5000},
    )

    def is_available(self, folder: Path | None) -> bool:
        folder = folder or cached(self.info)
        parts = find_parts(folder)
        return bool(parts and (find_below(folder, [LISTING]) or find_annotations(folder, "captions", parts)))

    def load(
        self, folder: Path | None, *, progress: ProgressCallback | None = None, labelled_only: bool = False
    ) -> datasets.DatasetDict:
        """Beyond [`Loader.load`]: `labelled_only` leaves out the images in which no object is marked."""
        return read_folder(self.info, folder or fetch_once(self.info, self._download, progress), labelled_only)

    def _download(self, folder: Path, progress: ProgressCallback | None) -> None:
        with open_client() as client:
            fetch_listing(client, self.info, folder, LISTING, progress)
            annotations = address_of(self.info, ANNOTATIONS_URL)
            fetch_archive(client, annotations, folder, MAX_BYTES, lambda entry: "instances_" in entry, progress)
            for part in RELEASES[0]:
                url = address_of(self.info, PHOTOS_URL.format(part=part))
                fetch_archive(client, url, folder, MAX_BYTES, progress=progress)
        read_folder(self.info, folder)  # what lacks the layout must not become the cached folder


def read_folder(info: DatasetInfo, folder: Path, labelled_only: bool = False) -> datasets.DatasetDict:
    """Read the parts that are there; `labels` where the objects of all of them are.

    Args:
        info: the data set.
        folder: holds the official layout.
        labelled_only: leave out the images in which no object is marked.

    Raises:
        DatasetError: another layout; unusable annotations; images that are missing from a part's folder; no objects
            where only labelled images are asked for.
    """
    parts, listing = find_parts(folder), find_below(folder, [LISTING])
    captions = find_annotations(folder, "captions", parts)
    instances = find_annotations(folder, "instances", parts)
    if not parts or not (listing or captions):
        raise DatasetError(
            f"{folder} does not have the layout of MS-COCO: a folder {' or '.join(OFFICIAL_SPLITS)}, and captions in "
            f"{LISTING} or in captions_<part>.json of each. {info.how_to_get}"
        )
    if labelled_only and not instances:
        needed = " and ".join(f"instances_{part}.json" for part in parts)
        raise DatasetError(f"{folder} lacks {needed}, which say what objects the images show. {info.how_to_get}")
    root = next(iter(parts.values())).parent
    if listing:
        tables = {listing: [row for row in read_listing(listing, places_of(parts)) if part_of(row) in parts]}
    else:
        tables = {path: list(read_captions(path, part)) for part, path in captions.items()}
    captioned = {
        path: [row for row in rows if any(text.strip() for text in row[1]["captions"])]
        for path, rows in tables.items()
    }
    pairs = [pair for path, rows in captioned.items() for pair in to_pairs(path, rows, root)[0]]
    for part, path in instances.items():
        labels = read_labels(path)
        for pair in pairs:
            if pair.name.startswith(f"{part}/"):
                pair.labels = labels.get(pair.id, ())
    kept = [pair for pair in pairs if pair.labels or not labelled_only]
    result = to_dataset(info, kept, "labels" if instances else None, info.classes, split_by_hash)
    release = next(release for release in RELEASES if parts.keys() <= release.keys())
    notes = [f"There is no folder {part}." for part in release if part not in parts]
    if listing is None:
        trains, tests = release
        notes.append(f"Without {LISTING} {trains} trains and {tests} tests.")
    if without := sum(map(len, tables.values())) - sum(map(len, captioned.values())):
        notes.append(f"Images without a caption are left out: {without:,}.")
    if labelled_only:
        notes.append(f"Images without an object are left out: {len(pairs) - len(kept):,}.")
    warn_of_sizes(info, result, " ".join(notes))
    return result


def find_parts(folder: Path) -> dict[str, Path]:
    """Part -> its folder of images, of those of one release that are there side by side."""
    for release in RELEASES:
        for part in release:
            if found := find_below(folder, [part], Path.is_dir):
                return {each: found.parent / each for each in release if (found.parent / each).is_dir()}
    return {}


def part_of(row: Row) -> str:
    """The part that the image of a row is in."""
    return row[1]["image"].partition("/")[0]


def places_of(parts: Mapping[str, Path]) -> Callable[[Image], str]:
    """Where an image of Karpathy's file is, from the parts' common folder on.

    The photos of 2017 have no other name than their number, and another part each. One that is in neither part is
    placed in one that is not there or, where both are, in the first.
    """
    if parts.keys() <= RELEASES[0].keys():
        return Image.place
    part_with = {name: part for part, folder in parts.items() for name in os.listdir(folder)}
    elsewhere = next((part for part in RELEASES[1] if part not in parts), next(iter(parts)))

    def place(image: Image) -> str:
        number = NUMBER.search(image.filename)
        name = f"{int(number[1]):012}.jpg" if number else image.filename
        return f"{part_with.get(name, elsewhere)}/{name}"

    return place


def find_annotations(folder: Path, kind: str, parts: Iterable[str]) -> dict[str, Path]:
    """Part -> its file of annotations; empty unless every part has one."""
    wanted = {part: find_below(folder, [f"{kind}_{part}.json"]) for part in parts}
    found = {part: path for part, path in wanted.items() if path is not None}
    return found if len(found) == len(wanted) else {}


def read_captions(path: Path, part: str) -> Iterator[Row]:
    """One row an image of `captions_<part>.json`, with its first five captions.

    Raises:
        DatasetError: the file is no JSON, or of another layout.
    """
    content = read_json(path, CaptionFile)
    of_image = defaultdict(list)
    for annotation in content.annotations:
        of_image[annotation.image_id].append(annotation.caption)
    for number, image in enumerate(content.images, start=1):
        row = {
            "image": f"{part}/{image.file_name}",
            "id": image.file_name,
            "captions": of_image[image.id][:CAPTIONS],
            "split": OFFICIAL_SPLITS[part],
        }
        yield f"{path}, image {number}", row


def read_labels(path: Path) -> dict[str, tuple[str, ...]]:
    """File name -> categories of the objects in it, of `instances_<part>.json`; images without an object are absent.

    Raises:
        DatasetError: the file is no JSON, of another layout, or has an object of no image or category of it.
    """
    content = read_json(path, InstanceFile)
    images = {image.id: image.file_name for image in content.images}
    names = {category.id: category.name for category in content.categories}
    shown: dict[str, set[int]] = defaultdict(set)
    for number, instance in enumerate(content.annotations, start=1):
        if instance.image_id not in images or instance.category_id not in names:
            raise DatasetError(
                f"{path}, object {number}: there is no image {instance.image_id} or no category "
                f"{instance.category_id} in the file. Fetch it anew."
            )
        shown[images[instance.image_id]].add(instance.category_id)
    return {name: tuple(names[category] for category in sorted(of_it)) for name, of_it in shown.items()}
