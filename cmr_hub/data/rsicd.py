"""RSICD (Lu et al. 2018): 10,921 aerial images in 31 classes, up to five distinct captions each.

From a folder: `captions.csv` (file_name, split, label, caption_0 … caption_4) beside `images/`. Without a folder: the
Hub repo `arampacha/rsicd` (columns filename, captions, image; splits train, test, valid), whose rows carry no class.
The class is the start of the file name ("airport_1.jpg"); 921 images have only a number for a name ("00433.jpg"),
and theirs come from `rsicd_numbered.json`, the list of the data set's authors by number. The reading of the Hub repo
is tested against rows of its documented columns, not against the repo itself.

The source pads short sets of captions with repeats; they are dropped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import httpx2

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError

from .base import TEXTS, DatasetInfo, Loader, ProgressCallback, build, label_features, split_by_hash, warn_of_sizes
from .download import cached, unreachable
from .table import SPLIT_NAMES, read_pairs, to_dataset

REPO = "arampacha/rsicd"
TABLE = "captions.csv"


@register_dataset("rsicd")
class RSICD(Loader):
    """`load_dataset("rsicd")`: `id` is the image's file name."""

    info = DatasetInfo(
        name="rsicd",
        title="RSICD (Remote Sensing Image Captioning Dataset)",
        license="none stated by its authors; for research",
        homepage="https://github.com/201528014227051/RSICD_optimal",
        source=f"https://huggingface.co/datasets/{REPO}",
        how_to_get=(
            "Lay a captions.csv (file_name, split, label, caption_0, …, caption_4) and the images in images/ into "
            f"one folder, from https://huggingface.co/datasets/{REPO} or its authors' page."
        ),
        citation=(
            "X. Lu, B. Wang, X. Zheng, X. Li. Exploring Models and Data for Remote Sensing Image Caption Generation. "
            "IEEE Transactions on Geoscience and Remote Sensing 56(4), 2018."
        ),
        classes=(
            "airport",
            "bare land",
            "baseball field",
            "beach",
            "bridge",
            "center",
            "church",
            "commercial",
            "dense residential",
            "desert",
            "farmland",
            "forest",
            "industrial",
            "meadow",
            "medium residential",
            "mountain",
            "park",
            "parking",
            "playfields",
            "playground",
            "pond",
            "port",
            "railway station",
            "resort",
            "river",
            "school",
            "sparse residential",
            "square",
            "stadium",
            "storage tanks",
            "viaduct",
        ),
        sizes={"train": 8734, "validation": 1094, "test": 1093},
    )

    def is_available(self, folder: Path | None) -> bool:
        if folder is None:
            in_hub_cache = Path(datasets.config.HF_DATASETS_CACHE, REPO.replace("/", "___")).is_dir()
            return in_hub_cache or self.is_available(cached(self.info))
        return (folder / TABLE).is_file() and (folder / "images").is_dir()

    def load(self, folder: Path | None, *, progress: ProgressCallback | None = None) -> datasets.DatasetDict:
        if folder is None and cached(self.info).is_dir():  # put there by hand, as the download's error advises
            folder = cached(self.info)
        if folder is None:
            return from_hub(self.info, _download(self.info, progress))
        if not self.is_available(folder):
            raise DatasetError(f"{folder} does not have the layout of RSICD. {self.info.how_to_get}")
        pairs, columns = read_pairs(folder / TABLE, folder / "images")
        result = to_dataset(self.info, pairs, columns.label, self.info.classes, split_by_hash)
        warn_of_sizes(self.info, result)
        return result


def _download(info: DatasetInfo, progress: ProgressCallback | None) -> datasets.DatasetDict:
    """The Hub repo as it is; `datasets` downloads, resumes, checks and caches it, and keeps offline mode."""
    if progress is not None:
        progress(0.0, f"Downloading {REPO} from the Hub")
    try:
        return datasets.load_dataset(REPO)
    except (OSError, ValueError, httpx2.HTTPError, datasets.exceptions.DatasetsError) as error:
        raise unreachable(info, f"{error}.") from error


def from_hub(info: DatasetInfo, rows: datasets.DatasetDict) -> datasets.DatasetDict:
    """The rows of the Hub repo in our columns; the images stay in its Parquet files.

    Raises:
        DatasetError: a column is missing, or a file name has no known class.
    """
    result = datasets.DatasetDict()
    for split, part in rows.items():
        lacking = {"filename", "captions", "image"} - set(part.column_names)
        if lacking or split not in SPLIT_NAMES:
            raise DatasetError(f"The repo {REPO} is not as it was: split {split!r}, columns {part.column_names}.")
        names = [PurePosixPath(name).name for name in part["filename"]]
        columns: dict[str, Sequence[Any]] = {
            "id": names,
            "texts": [
                list(dict.fromkeys(text.strip() for text in captions if text.strip())) for captions in part["captions"]
            ],
            "label": [class_of(name) for name in names],
        }
        features = label_features(info.classes, texts=TEXTS)
        named = build(info, columns, [SPLIT_NAMES[split]] * len(names), features)
        joined = datasets.concatenate_datasets([*named.values(), part.select_columns("image")], axis=1)
        result[SPLIT_NAMES[split]] = joined.select_columns(["id", "image", "texts", "label"])
    return result


def class_of(file_name: str) -> str:
    """The class of an image by its file name.

    Raises:
        DatasetError: neither the name's start nor its number is known.

    Example:
    ```python
    >>> class_of("railwaystation_7.jpg"), class_of("00433.jpg")
    ('railway station', 'airport')
    ```
    """
    stem = PurePosixPath(file_name).stem
    start = stem.rpartition("_")[0]
    by_start = {name.replace(" ", ""): name for name in RSICD.info.classes}
    found = numbered_classes().get(int(stem)) if stem.isdecimal() else by_start.get(start)
    if found is None:
        raise DatasetError(f"RSICD: the file name {file_name!r} begins with no known class.")
    return found


@cache
def numbered_classes() -> dict[int, str]:
    """Number -> class, of the 921 images whose file name is only a number."""
    ranges = json.loads(Path(__file__).with_name("rsicd_numbered.json").read_text(encoding="utf-8"))
    classes: dict[int, str] = {}
    for name, spans in ranges.items():
        for span in spans.split():
            first, _, last = span.partition("-")
            classes |= dict.fromkeys(range(int(first), int(last or first) + 1), name)
    return classes
