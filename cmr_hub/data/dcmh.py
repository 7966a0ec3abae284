"""The files that DCMH (Jiang & Li, CVPR 2017) reads, and most hashing papers after it: MIRFlickr-25K and NUS-WIDE.

Three arrays, with n pairs each as their MATLAB shapes say:

    images or IAll    224 x 224 x 3 x n, images; or n x d, features of them, in releases that came later
    YAll or tags      n x 1386 of MIRFlickr, n x 1000 of NUS-WIDE: bags of words of the tags
    LAll or labels    n x 24 of MIRFlickr, n x 21 of NUS-WIDE: 1 where a pair is of a class

They lie in one file, `FLICKR-25K.mat` or `NUS-WIDE-TC21.mat`, or in three, which may have folders `IAll/`, `YAll/` and
`LAll/` of their own: `mirflickr25k-iall.mat`, `mirflickr25k-yall.mat` and `mirflickr25k-lall.mat`, and the same with
`nus-wide-tc21`. Those with images are of MATLAB's version 7.3, which h5py reads.

The split is that of DCMH's code: the first pairs are the queries, "test"; all others are the database that they
search, "train". DCMH learns from the first 10,000 of these on MIRFlickr, and from 10,500 on NUS-WIDE: its recipe, and
`train_rows` of `load_dataset`, take them.

Images are written once, without loss, as PNG files into the cache folder, about 2 GB of MIRFlickr and 20 GB of
NUS-WIDE, and stay there as long as the MATLAB file stays as it is; no more than a few hundred are held at a time. The
files do not say which tag or which class a column is for: there are no `texts`, and classes are numbered.

Names, shapes and the order of the axes are those that DCMH's published code and several others read. Tested against
generated files of both versions, not against the releases themselves.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
from PIL import Image

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError
from cmr_hub.utils.files import cache_folder

from .base import DatasetInfo, Loader, ProgressCallback, build, label_features, vectors, warn_of_sizes
from .download import at_hand, cached, make_once
from .mat import MatArray, find_array, numbered_classes
from .progress import stepwise

ARRAYS = {"i": ("images", "IAll"), "y": ("YAll", "tags"), "l": ("LAll", "labels")}
AT_ONCE = 256  # images, of 150 KB each


def describe(name: str, title: str, files: str, classes: int, sizes: Mapping[str, int]) -> DatasetInfo:
    """What one of DCMH's releases is."""
    return DatasetInfo(
        name=name,
        title=f"{title}, DCMH's files",
        license="none stated by its authors; the photos are Flickr's, under their owners' terms",
        homepage="https://github.com/jiangqy/DCMH-CVPR2017",
        source="https://github.com/jiangqy/DCMH-CVPR2017",
        by_hand=True,
        is_drawn=True,
        how_to_get=(
            f"Fetch {files} by the links in the readme files of https://github.com/jiangqy/DCMH-CVPR2017 into one "
            "folder, or ask the authors."
        ),
        citation="Q.-Y. Jiang, W.-J. Li. Deep Cross-Modal Hashing. CVPR 2017.",
        classes=numbered_classes(classes),
        columns=("id", "image", "image_features", "text_features", "labels"),
        sizes=sizes,
    )


class DCMHFiles(Loader):
    """One of DCMH's data sets; `id` is the number of the pair in the file, counted from 1.

    Attributes:
        whole: name of the one file.
        stem: what the names of the three files begin with.
    """

    whole: ClassVar[str]
    stem: ClassVar[str]

    def is_available(self, folder: Path | None) -> bool:
        return self.find(folder or cached(self.info)) is not None

    def find(self, folder: Path) -> dict[str, Path] | None:
        """The file of each of `ARRAYS`; None where one is missing."""
        found: dict[str, Path] = {}
        for letter in ARRAYS:
            parted = f"{self.stem}-{letter}all.mat"
            places = [folder / name for name in (self.whole, parted, f"{letter.upper()}All/{parted}")]
            file = next((place for place in places if place.is_file()), None)
            if file is None:
                return None
            found[letter] = file
        return found

    def load(self, folder: Path | None, *, progress: ProgressCallback | None = None) -> datasets.DatasetDict:
        folder = at_hand(self.info, folder)
        files = self.find(folder)
        if files is None:
            raise DatasetError(
                f"{folder} does not have the layout of DCMH's files: {self.whole}, or {self.stem}-iall.mat, "
                f"{self.stem}-yall.mat and {self.stem}-lall.mat. {self.info.how_to_get}"
            )
        result = read_arrays(
            self.info, *(find_array(files[letter], names) for letter, names in ARRAYS.items()), progress=progress
        )
        warn_of_sizes(self.info, result)
        return result


@register_dataset("mirflickr-dcmh")
class MIRFlickrDCMH(DCMHFiles):
    """`load_dataset("mirflickr-dcmh")`."""

    whole, stem = "FLICKR-25K.mat", "mirflickr25k"
    info = describe(
        "mirflickr-dcmh", "MIRFlickr-25K", "FLICKR-25K.mat", classes=24, sizes={"train": 18_015, "test": 2_000}
    )


@register_dataset("nuswide-dcmh")
class NUSWIDEDCMH(DCMHFiles):
    """`load_dataset("nuswide-dcmh")`."""

    whole, stem = "NUS-WIDE-TC21.mat", "nus-wide-tc21"
    info = describe(
        "nuswide-dcmh",
        "NUS-WIDE TC-21",
        "nus-wide-tc21-iall.mat, nus-wide-tc21-yall.mat and nus-wide-tc21-lall.mat",
        classes=21,
        sizes={"train": 193_734, "test": 2_100},
    )


def read_arrays(
    info: DatasetInfo, images: MatArray, tags: MatArray, labels: MatArray, *, progress: ProgressCallback | None = None
) -> datasets.DatasetDict:
    """Three arrays as a data set.

    Raises:
        DatasetError: arrays that do not agree, another number of classes, a label that is neither 0 nor 1, a pair
            without a class, or images that are none.
    """
    classes = _by_pair(labels, labels.shape[0] if labels.shape[-1] == len(info.classes) else labels.shape[-1])
    pairs = len(classes)
    if classes.shape[1] != len(info.classes):
        raise DatasetError(
            f"{labels.path}: {labels.name} has shape {labels.shape}; {info.title} has {len(info.classes)} classes."
        )
    if not np.isin(classes, (0, 1)).all():
        raise DatasetError(f"{labels.path}: {labels.name} has values other than 0 and 1.")
    if not classes.any(axis=1).all():
        without = int(np.flatnonzero(~classes.any(axis=1))[0]) + 1
        raise DatasetError(f"{labels.path}: pair {without} has no class in {labels.name}.")
    words = _by_pair(tags, pairs)
    queries = pairs * info.sizes["test"] // sum(info.sizes.values())
    columns: dict[str, Any] = {
        "id": [str(number) for number in range(1, pairs + 1)],
        "text_features": words,
        "labels": [np.flatnonzero(row).tolist() for row in classes],
    }
    types: dict[str, Any] = {"text_features": vectors(words.shape[1])}
    if len(images.shape) == 4:
        columns["image"] = [str(path) for path in _image_files(info, images, pairs, progress)]
        types = {"image": datasets.Image(), **types}
    else:
        columns["image_features"] = _by_pair(images, pairs)
        types = {"image_features": vectors(columns["image_features"].shape[1]), **types}
    splits = ["test"] * queries + ["train"] * (pairs - queries)
    return build(info, columns, splits, label_features(info.classes, several=True, **types))


def _by_pair(array: MatArray, pairs: int) -> np.ndarray:
    """A matrix with a row a pair; some releases have them in columns."""
    matrix = array.read()
    if matrix.shape[0] != pairs and matrix.shape[1] == pairs:
        matrix = matrix.T
    if matrix.shape[0] != pairs:
        raise DatasetError(
            f"{array.path}: {array.name} has shape {array.shape}, but there are classes of {pairs} pairs."
        )
    return matrix


def _image_files(info: DatasetInfo, images: MatArray, pairs: int, progress: ProgressCallback | None) -> list[Path]:
    """The PNG file of each pair, written first where they are not there yet."""
    if images.shape[2:] != (3, pairs):
        raise DatasetError(
            f"{images.path}: {images.name} has shape {images.shape}; height x width x 3 x {pairs} is expected."
        )
    known = images.path.stat()
    made_of = f"{images.path.resolve()} {known.st_size} {known.st_mtime_ns} {images.name}"
    folder = cache_folder("pictures", f"{info.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}")

    def fill(partial: Path) -> None:
        done = 0
        with stepwise(f"Writing the images of {images.path.name}", " images", progress) as at:
            for block in images.blocks(AT_ONCE):
                for image in block:
                    done += 1
                    _write_image(images, partial / f"{done}.png", image, done)
                at(done, pairs)
        now = images.path.stat()
        if (now.st_size, now.st_mtime_ns) != (known.st_size, known.st_mtime_ns):
            shutil.rmtree(partial)
            raise DatasetError(f"{images.path} changed while its images were read: load it again.")

    make_once(folder, fill)
    return [folder / f"{number}.png" for number in range(1, pairs + 1)]


def _write_image(images: MatArray, path: Path, values: np.ndarray, number: int) -> None:
    """Write one image, unless an earlier run has; it appears only when it is whole."""
    if path.is_file():
        return
    if not (values.min() >= 0 and values.max() <= 255):  # in this way not-a-number is refused as well
        raise DatasetError(f"{images.path}: {images.name} has values beyond 0 to 255 in image {number}.")
    part = path.with_suffix(".part")
    Image.fromarray(np.ascontiguousarray(np.rint(values).astype(np.uint8))).save(part, "PNG", compress_level=1)
    os.replace(part, path)
