"""Pascal Sentence (Rashtchian et al. 2010): 1000 photos in 20 classes, each with five sentences.

The folder: `images/<class>/<id>.jpg` beside `texts/<class>/<id>.txt` with one sentence a line. The official page is
one HTML table of images and sentences; the download mirrors it into this layout.

The papers split 800/100/100 into train, validation and test at random. Here the split is fixed: in each class the
items are put in the order of a hash of their ids, of 50 items 40 train, 5 validate and 5 test. It does not depend on
the order of the rows, nor (the texts being complete) on which images are there.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import datasets
import httpx2

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError, DownloadError
from cmr_hub.utils.addresses import without_credentials
from cmr_hub.utils.messages import name_some

from .base import TEXTS, DatasetInfo, Loader, ProgressCallback, build, hash_order, label_features, warn_of_sizes
from .download import cached, download_file, fetch_once, open_client, source_of
from .progress import stepwise

logger = logging.getLogger(__name__)

INDEX = "index.html"
MAX_INDEX_BYTES = 16 << 20
MAX_IMAGE_BYTES = 16 << 20
CONNECTIONS = 8
IMAGE = re.compile(r"(?P<name>[a-z]+)/(?P<id>\w+)\.jpg")
JPEG_START = b"\xff\xd8\xff"


@register_dataset("pascal")
class Pascal(Loader):
    """`load_dataset("pascal")`: `id` is "class/file", as in "cat/2008_000116"; `texts` are the five sentences."""

    info = DatasetInfo(
        name="pascal",
        title="Pascal Sentence (UIUC)",
        license="none stated by its authors; the photos are Flickr's, from PASCAL VOC 2008, under their owners' terms",
        homepage="http://vision.cs.uiuc.edu/pascal-sentences/",
        source="http://vision.cs.uiuc.edu/pascal-sentences/",
        how_to_get=(
            "Save the images of the page http://vision.cs.uiuc.edu/pascal-sentences/ as images/<class>/<id>.jpg and "
            "their sentences, one a line, as texts/<class>/<id>.txt, in one folder."
        ),
        citation=(
            "C. Rashtchian, P. Young, M. Hodosh, J. Hockenmaier. Collecting Image Annotations Using Amazon's "
            "Mechanical Turk. NAACL HLT 2010 Workshop on Creating Speech and Language Data with Mechanical Turk."
        ),
        classes=(
            "aeroplane",
            "bicycle",
            "bird",
            "boat",
            "bottle",
            "bus",
            "car",
            "cat",
            "chair",
            "cow",
            "diningtable",
            "dog",
            "horse",
            "motorbike",
            "person",
            "pottedplant",
            "sheep",
            "sofa",
            "train",
            "tvmonitor",
        ),
        sizes={"train": 800, "validation": 100, "test": 100},
    )

    def is_available(self, folder: Path | None) -> bool:
        folder = folder or cached(self.info)
        return all((folder / side).is_dir() for side in ("images", "texts"))

    def load(
        self, folder: Path | None, *, progress: ProgressCallback | None = None, complete_classes: bool = False
    ) -> datasets.DatasetDict:
        """Beyond [`Loader.load`]: `complete_classes` leaves out the classes that lack images, and their names."""
        return read_folder(self.info, folder or fetch_once(self.info, self._download, progress), complete_classes)

    def _download(self, folder: Path, progress: ProgressCallback | None) -> None:
        base = source_of(self.info).rstrip("/")
        with open_client() as client:
            download_file(client, f"{base}/", folder / INDEX, MAX_INDEX_BYTES)
            pairs = _read_index(folder / INDEX, self.info)
            for item_id, sentences in pairs.items():  # the folder as a whole appears atomically, see fetch_once
                path = folder / "texts" / f"{item_id}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join(sentences) + "\n", encoding="utf-8")
            pool = ThreadPoolExecutor(CONNECTIONS)
            try:
                with stepwise("Downloading Pascal Sentence", " images", progress) as at:
                    running = [
                        pool.submit(_fetch_image, client, f"{base}/{name}.jpg", folder / "images" / f"{name}.jpg")
                        for name in pairs
                    ]
                    for done, future in enumerate(as_completed(running), start=1):
                        future.result()
                        at(done, len(running))
            finally:
                pool.shutdown(cancel_futures=True)


def _fetch_image(client: httpx2.Client, url: str, path: Path) -> None:
    download_file(client, url, path, MAX_IMAGE_BYTES)
    with path.open("rb") as file:
        is_jpeg = file.read(len(JPEG_START)) == JPEG_START
    if not is_jpeg:
        path.unlink()
        raise DownloadError(f"{without_credentials(url)} did not send a JPEG image.")


def read_folder(info: DatasetInfo, folder: Path, complete_classes: bool = False) -> datasets.DatasetDict:
    """Read `images/` and `texts/`; a text without its image, or the other way round, is left out with a warning.

    Args:
        info: the data set.
        folder: holds `images/` and `texts/`, one folder per class in each.
        complete_classes: keep only the classes whose pairs are all here; the others are no class of the result.

    Raises:
        DatasetError: another layout, an unknown class, a text file that is empty or not UTF-8, not one whole pair, or
            not one complete class where they are asked for.
    """
    texts = _find(info, folder, "texts", ".txt")
    images = _find(info, folder, "images", ".jpg")
    whole = sorted(texts.keys() & images.keys())
    if not whole:
        raise DatasetError(f"{folder}: no image in images/ has the class and name of a text in texts/.")
    counts = Counter(class_of(item_id) for item_id in whole)
    of_class = sum(info.sizes.values()) // len(info.classes)
    lacking = [f"{name} {counts[name]}" for name in info.classes if counts[name] < of_class]
    classes = [name for name in info.classes if counts[name] >= of_class] if complete_classes else info.classes
    if not classes:
        raise DatasetError(f"{folder}: not one class has its {of_class} pairs: {', '.join(lacking)}.")
    whole = [item_id for item_id in whole if class_of(item_id) in classes]
    splits = split_by_class(texts)
    columns: dict[str, Sequence[Any]] = {
        "id": whole,
        "image": [str(images[item_id]) for item_id in whole],
        "texts": [_read_sentences(texts[item_id]) for item_id in whole],
        "label": [class_of(item_id) for item_id in whole],
    }
    features = label_features(classes, image=datasets.Image(), texts=TEXTS)
    result = build(info, columns, [splits[item_id] for item_id in whole], features)
    treated = "Left out for want of images" if complete_classes else "Classes that lack images"
    warn_of_sizes(info, result, f"{treated}: {', '.join(lacking)}." if lacking else "")
    return result


def class_of(item_id: str) -> str:
    """The class of an item: what stands before the slash of its id.

    Example:
    ```python
    >>> class_of("cat/2008_000116")
    'cat'
    ```
    """
    return item_id.partition("/")[0]


def split_by_class(item_ids: dict[str, Path] | list[str]) -> dict[str, str]:
    """Item id -> split: of each class a tenth validates and a tenth tests, chosen by a hash order of the ids.

    Example:
    ```python
    >>> splits = split_by_class([f"cat/{number}" for number in range(50)])
    >>> sorted(Counter(splits.values()).items())
    [('test', 5), ('train', 40), ('validation', 5)]
    ```
    """
    of_class: dict[str, list[str]] = {}
    for item_id in sorted(item_ids, key=hash_order):
        of_class.setdefault(class_of(item_id), []).append(item_id)
    splits = {}
    for members in of_class.values():
        tenth = len(members) // 10
        for rank, item_id in enumerate(members):
            splits[item_id] = "test" if rank < tenth else "validation" if rank < 2 * tenth else "train"
    return splits


def _find(info: DatasetInfo, folder: Path, side: str, suffix: str) -> dict[str, Path]:
    """Item id -> file, of one of the two folders."""
    if not (folder / side).is_dir():
        raise DatasetError(
            f"{folder} does not have the layout of Pascal Sentence: there is no folder {side}/ in it. "
            f"{info.how_to_get}"
        )
    files = {f"{path.parent.name}/{path.stem}": path for path in (folder / side).glob(f"*/*{suffix}")}
    unknown = sorted({path.parent.name for path in files.values()} - set(info.classes))
    if unknown:
        raise DatasetError(f"{folder / side}: {name_some(unknown)} is not one of Pascal Sentence's 20 classes.")
    return files


def _read_sentences(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not a UTF-8 text file: {error}.") from error
    sentences = [line.strip() for line in lines if line.strip()]
    if not sentences:
        raise DatasetError(f"{path} is empty; it should hold one sentence a line.")
    return sentences


def _read_index(path: Path, info: DatasetInfo) -> dict[str, list[str]]:
    """Item id -> sentences, from the official page as it was saved."""
    pairs = parse_index(path.read_text(encoding="utf-8", errors="replace"))
    pairs = {item_id: sentences for item_id, sentences in pairs.items() if class_of(item_id) in info.classes}
    without = [item_id for item_id, sentences in pairs.items() if not sentences]
    if not pairs or without:
        path.unlink()
        lacking = f"no sentences for {name_some(without)}" if without else "no image of a class of the data set"
        source = without_credentials(source_of(info))
        raise DownloadError(f"The page {source} is not laid out as it was: it has {lacking}.")
    if len(pairs) != sum(info.sizes.values()):
        logger.warning("pascal: the page lists %d images, not %d.", len(pairs), sum(info.sizes.values()))
    return pairs


def parse_index(html: str) -> dict[str, list[str]]:
    """The official page's table: a cell with `<img src="class/id.jpg">`, then a table with a cell for each sentence.

    Images whose address is not of the form "class/id.jpg" are passed over, so no path of the page's choosing is
    ever fetched or written.

    Example:
    ```python
    >>> page = '<tr><td><img src="cat/1.jpg"></td><td><table><tr><td> A cat. </td></tr></table></td></tr>'
    >>> parse_index(page)
    {'cat/1': ['A cat.']}
    ```
    """
    reader = _IndexReader()
    reader.feed(html)
    reader.close()
    reader.end_cell()
    return reader.pairs


class _IndexReader(HTMLParser):
    """A sentence is the text between a <td> and the next <td> or </td>; it belongs to the image before it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pairs: dict[str, list[str]] = {}
        self.sentences: list[str] | None = None  # of the image that was seen last
        self.cell: list[str] | None = None  # text of the open cell

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            match = IMAGE.fullmatch(dict(attrs).get("src") or "")
            self.sentences = self.pairs.setdefault(f"{match['name']}/{match['id']}", []) if match else None
        elif tag == "td":
            self.end_cell()
            self.cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "table"):
            self.end_cell()

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell.append(data)

    def end_cell(self) -> None:
        """Keep the open cell's text as a sentence, if it has any."""
        text = " ".join("".join(self.cell or []).split())
        if text and self.sentences is not None:
            self.sentences.append(text)
        self.cell = None
