"""IAPR TC-12 (Grubinger et al. 2006): 20,000 photos of journeys, each with a description in English.

The official archive, which the folder may have itself or in a subfolder `iaprtc12/`:

    images/<dir>/<number>.jpg                      <dir> is two digits, as in 00/25.jpg
    annotations_complete_eng/<dir>/<number>.eng    tags TITLE, DESCRIPTION, LOCATION …; the description is the text

The classes come from another release, the segmented and annotated one (Escalante et al. 2010). It consists of RAR
archives, which have to be unpacked by hand; beside the above, itself or in its `benchmark/`, it has

    saiapr_tc-12/<dir>/labels.txt                  a row a segment: number of the image, of the segment, of its label
    wlist.txt or wlist100.txt                      number of a label, its name; in one of these folders or in `matlab/`

As in DCMH and the hashing papers after it, an image's classes are the labels of its segments, 255 in all 20,000
images. A label that the list does not name is called by its number. Without the segmented release there are no
`labels`, which a warning says. A file whose DESCRIPTION is empty or absent is left out, with its image; a warning
counts them.

The papers draw 2,000 queries at random and publish no list of them. Here they are the first 2,000 in the order of a
hash of the numbers: "test". The papers search in the other 18,000: "train". They learn from 10,000 of these only:
`train_rows` of `load_dataset` and of recipes takes the first rows of "train" for such a draw.

Tested against generated archives in the documented layout, not against the archives themselves.
"""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError
from cmr_hub.utils.messages import name_some

from .base import TEXTS, DatasetInfo, Loader, ProgressCallback, build, label_features, query_split, warn_of_sizes
from .download import cached, fetch_archive, fetch_once, open_client, source_of
from .text_files import read_lines, read_text

logger = logging.getLogger(__name__)

ARCHIVE = "iaprtc12.tgz"
MAX_BYTES = 8 << 30
MAX_FILES = 400_000  # every annotation stands in it in seven versions
IMAGES, TEXT_FILES = "images", "annotations_complete_eng"
SEGMENTED = ("saiapr_tc-12", "benchmark/saiapr_tc-12", "saiaprtc12ok/benchmark/saiapr_tc-12")
LABEL_NAMES = ("wlist.txt", "wlist100.txt")
NAMED_IN = ("", "benchmark", "matlab", "saiaprtc12ok/benchmark", "saiaprtc12ok/matlab")
OPENING, CLOSING = (re.compile(tag, re.IGNORECASE) for tag in ("<DESCRIPTION>", "</DESCRIPTION>"))


@register_dataset("iapr_tc12")
class IAPRTC12(Loader):
    """`load_dataset("iapr_tc12")`: `id` is the image's number, as in "25"."""

    info = DatasetInfo(
        name="iapr_tc12",
        title="IAPR TC-12 (Grubinger et al. 2006)",
        license="free of charge and without copyright restrictions, by its authors' word",
        homepage="https://www.imageclef.org/photodata",
        source="http://www-i6.informatik.rwth-aachen.de/imageclef/resources/",
        how_to_get=(
            "Fetch iaprtc12.tgz from https://www.imageclef.org/photodata and unpack it. For the classes fetch the "
            "three parts of saiaprtc12ok.rar from https://www.imageclef.org/SIAPRdata, unpack them, and put their "
            "folders benchmark and matlab beside images and annotations_complete_eng."
        ),
        citation=(
            "M. Grubinger, P. Clough, H. Müller, T. Deselaers. The IAPR TC-12 Benchmark: A New Evaluation Resource "
            "for Visual Information Systems. OntoImage 2006. Classes: H. J. Escalante et al. The Segmented and "
            "Annotated IAPR TC-12 Benchmark. Computer Vision and Image Understanding 114(4), 2010."
        ),
        columns=("id", "image", "texts", "labels"),
        sizes={"train": 18_000, "test": 2_000},
    )

    def is_available(self, folder: Path | None) -> bool:
        return find_root(folder or cached(self.info)) is not None

    def load(self, folder: Path | None, *, progress: ProgressCallback | None = None) -> datasets.DatasetDict:
        result = read_folder(self.info, folder or fetch_once(self.info, self._download, progress))
        warn_of_sizes(self.info, result)
        return result

    def _download(self, folder: Path, progress: ProgressCallback | None) -> None:
        url = f"{source_of(self.info).rstrip('/')}/{ARCHIVE}"
        with open_client() as client:
            fetch_archive(client, url, folder, MAX_BYTES, is_read, progress, MAX_FILES)
        read_folder(self.info, folder)  # an archive without the layout must not become the cached folder


def is_read(name: str) -> bool:
    """Whether a file of the archive is needed.

    Example:
    ```python
    >>> is_read("iaprtc12/images/00/25.jpg"), is_read("iaprtc12/annotations_complete_ger/00/25.ger")
    (True, False)
    ```
    """
    return f"/{IMAGES}/" in name or f"/{TEXT_FILES}/" in name


def find_root(folder: Path) -> Path | None:
    """The folder with images and descriptions: `folder` itself or its `iaprtc12/`."""
    for root in (folder, folder / "iaprtc12"):
        if (root / IMAGES).is_dir() and (root / TEXT_FILES).is_dir():
            return root
    return None


def read_folder(info: DatasetInfo, folder: Path) -> datasets.DatasetDict:
    """Read the official layout; a description without its image, classes or words is left out.

    Raises:
        DatasetError: another layout, lists that are not what they should be, or not one whole pair.
    """
    root = find_root(folder)
    if root is None:
        raise DatasetError(
            f"{folder} does not have the layout of IAPR TC-12: {IMAGES}/ beside {TEXT_FILES}/. {info.how_to_get}"
        )
    texts = {path.stem: read_description(read_text(path)) for path in (root / TEXT_FILES).glob("*/*.eng")}
    images = {path.stem: path for path in (root / IMAGES).glob("*/*.jpg")}
    if empty := sorted(item_id for item_id, text in texts.items() if not text):
        logger.warning("%s: %d descriptions are empty and left out: %s.", root, len(empty), name_some(empty))
    splits = query_split(info, [item_id for item_id, text in texts.items() if text])
    segmented = _find_segmented([folder, root])
    labels = _read_labels(segmented) if segmented else {}
    whole = [item_id for item_id in splits if item_id in images and (not segmented or item_id in labels)]
    if not whole:
        raise DatasetError(f"{root}: no image has a description{' and a class' if segmented else ''}.")
    columns: dict[str, Sequence[Any]] = {
        "id": whole,
        "image": [str(images[item_id]) for item_id in whole],
        "texts": [[texts[item_id]] for item_id in whole],
    }
    features = datasets.Features({"id": datasets.Value("string"), "image": datasets.Image(), "texts": TEXTS})
    if segmented:
        names = _name_labels(folder, segmented, {label for known in labels.values() for label in known})
        columns["labels"] = [[names[label] for label in sorted(labels[item_id])] for item_id in whole]
        features = label_features(list(names.values()), several=True, image=datasets.Image(), texts=TEXTS)
    else:
        logger.warning("%s: there are no classes, for the segmented release is missing. %s", root, info.how_to_get)
    return build(info, columns, [splits[item_id] for item_id in whole], features)


def read_description(annotation: str) -> str:
    r"""The description in an annotation file, white space collapsed; "" where there is none.

    Example:
    ```python
    >>> read_description("<TITLE>Plaza</TITLE><DESCRIPTION>two palms &amp;\n a house;</DESCRIPTION>")
    'two palms & a house;'
    ```
    """
    start = OPENING.search(annotation)
    end = CLOSING.search(annotation, start.end()) if start else None
    return " ".join(html.unescape(annotation[start.end() : end.start()]).split()) if start and end else ""


def _find_segmented(roots: Iterable[Path]) -> Path | None:
    places = [root / name for root in roots for name in SEGMENTED]
    return next((place for place in places if place.is_dir()), None)


def _read_labels(segmented: Path) -> dict[str, set[int]]:
    """Number of the image -> numbers of its segments' labels."""
    labels: dict[str, set[int]] = {}
    for path in sorted(segmented.glob("*/labels.txt")):
        for number, line in enumerate(read_lines(path), start=1):
            fields = line.split()
            if len(fields) != 3 or not all(field.isascii() and field.isdecimal() for field in fields):
                raise DatasetError(
                    f"{path}, row {number}: {line[:80]!r} is not the numbers of an image, a segment and a label."
                )
            labels.setdefault(fields[0], set()).add(int(fields[2]))
    if not labels:
        raise DatasetError(f"{segmented} has no rows in any <dir>/labels.txt. Unpack the whole archive.")
    return labels


def _name_labels(folder: Path, segmented: Path, numbers: set[int]) -> dict[int, str]:
    """Number of a label -> its name, in the order of the numbers; no two have the same name."""
    known: dict[int, str] = {}
    for place in (segmented, *(folder / name for name in NAMED_IN)):
        for path in (place / name for name in LABEL_NAMES):
            for line in read_lines(path) if path.is_file() else []:
                written, _, name = line.partition("\t")
                if written.strip().isdecimal() and name.strip():
                    known.setdefault(int(written), name.strip())
    names: dict[int, str] = {}
    for number in sorted(numbers):
        name = known.get(number, f"label {number}")
        names[number] = f"{name} ({number})" if name in names.values() else name
    return names
