"""What every data set is: a description, and a loader from its files to a `datasets.DatasetDict`."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow as pa

from cmr_hub.errors import InputError

logger = logging.getLogger(__name__)

ProgressCallback = Callable[[float, str], None]

SPLITS = ("train", "validation", "test")
DATABASE = "database"  # what was the training split, where only some of its rows are learned from


@dataclass(frozen=True)
class DatasetInfo:
    """What cards and the Space print about a data set.

    Attributes:
        name: what `load_dataset` calls it.
        title: what people call it.
        license: its licence, or what is known about its terms where the source states none.
        homepage: the official page.
        source: what is downloaded (or which package or repo holds it); "" where the user brings the data.
        how_to_get: what a person without the data does to get them by hand, in whole sentences.
        citation: the reference to cite; "" where there is none.
        classes: class names in the order of the label ids; empty where they depend on the user's data.
        columns: every column that it can offer; which of them it does may depend on the files that are present.
        sizes: pairs in each split of the complete data set; empty where they depend on the user's data.
        embedded: whether it comes with the packages, and its images' features with this one: nothing has to be
            prepared.
        by_hand: whether only a person can fetch it: it has no address that a program may load.
        is_drawn: whether the rows of the training split are in random order as its authors drew them, so that papers
            learn from the first of them.
    """

    name: str
    title: str
    license: str
    homepage: str
    source: str
    how_to_get: str
    citation: str = ""
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ("id", "image", "texts", "label")
    sizes: Mapping[str, int] = field(default_factory=dict)
    embedded: bool = False
    by_hand: bool = False
    is_drawn: bool = False


class Loader(ABC):
    """One data set. A subclass says what it is (`info`), whether it is here, and how it is read."""

    info: ClassVar[DatasetInfo]

    @abstractmethod
    def is_available(self, folder: Path | None) -> bool:
        """Whether the data are in `folder` (None: where `load` would look first), without a download."""

    @abstractmethod
    def load(self, folder: Path | None, *, progress: ProgressCallback | None = None) -> datasets.DatasetDict:
        """The data set from `folder` (None: from the cache, downloaded into it when it is not there yet).

        Raises:
            DatasetError: another layout, missing files, unusable rows.
            DownloadError: the source cannot be reached or sent something else than expected.
        """


def split_by_hash(item_id: str) -> str:
    """The split of an item by a hash of its id alone: 70 % train, 10 % validation, 20 % test.

    It depends neither on the order of the rows nor on which other rows there are, so a split never changes when
    items are added. The shares hold on average; a small data set deviates from them.

    Example:
    ```python
    >>> split_by_hash("1F600")
    'train'
    ```
    """
    share = int.from_bytes(hash_order(item_id)[:8]) / 2**64
    return "train" if share < 0.7 else "validation" if share < 0.8 else "test"


def hash_order(item_id: str) -> bytes:
    """A sort key that shuffles items in an order fixed by their ids alone."""
    return hashlib.sha256(item_id.encode()).digest()


def query_split(info: DatasetInfo, item_ids: Iterable[str]) -> dict[str, str]:
    """Item id -> "test" for the queries, "train" for the database that they search, in the order of a hash of the ids.

    For data sets whose papers draw their queries at random and publish no list: this draw is fixed. Of an incomplete
    data set the queries have the same share.

    Example:
    ```python
    >>> from cmr_hub.data import info
    >>> splits = query_split(info("mirflickr"), [str(number) for number in range(1, 20_016)])
    >>> list(splits.values()).count("test"), list(splits.values())[1999:2001]
    (2000, ['test', 'train'])
    ```
    """
    ordered = sorted(item_ids, key=hash_order)
    queries = len(ordered) * info.sizes["test"] // sum(info.sizes.values())
    return {item_id: "test" if rank < queries else "train" for rank, item_id in enumerate(ordered)}


def drawn_rows(train: datasets.Dataset, rows: int, is_drawn: bool = False) -> datasets.Dataset:
    """Rows of a training split that stand for a random draw: the first in the order of a hash of the ids.

    Args:
        train: the training split.
        rows: how many; all where there are fewer.
        is_drawn: see [`DatasetInfo`]: the first rows as they are.

    Raises:
        InputError: not one row is asked for.
    """
    if rows < 1:
        raise InputError(f"train_rows is {rows}: a training learns from one pair at least.")
    ids = train["id"][:]
    order = range(len(ids)) if is_drawn else sorted(range(len(ids)), key=lambda row: hash_order(ids[row]))
    return train.select(list(order)[:rows])


def with_database(dataset: datasets.DatasetDict, rows: int, is_drawn: bool = False) -> datasets.DatasetDict:
    """A data set of which only some rows of the training split are learned from, as papers on hashing do.

    All of it is the split "database", which protocols with `gallery="train"` search.

    Args:
        dataset: with a split "train".
        rows: how many are learned from; see [`drawn_rows`].
        is_drawn: see [`DatasetInfo`].
    """
    check_splits(dataset, ["train"], "train_rows")
    train = dataset["train"]
    return datasets.DatasetDict({**dataset, "train": drawn_rows(train, rows, is_drawn), DATABASE: train})


def searched_split(dataset: Mapping[str, Any]) -> Any:
    """What protocols with `gallery="train"` search: the database, or the training split; None where there is neither.

    Example:
    ```python
    >>> searched_split({"train": [1, 2]}), searched_split({"train": [1], "database": [1, 2]})
    ([1, 2], [1, 2])
    ```
    """
    return dataset.get(DATABASE, dataset.get("train"))


def check_splits(dataset: Mapping[str, Any], wanted: Iterable[str], name: str) -> None:
    """Refuse a data set that lacks splits.

    Args:
        dataset: split -> rows.
        wanted: the splits that are needed.
        name: the data set's.

    Raises:
        InputError: some are missing.

    Example:
    ```python
    >>> check_splits({"train": []}, ["train"], "toy")
    ```
    """
    missing = [split for split in wanted if split not in dataset]
    if missing:
        hint = " Say which pairs are of it by a column split, or by the option split." if name == "folder" else ""
        raise InputError(f"{name!r} has no {' and no '.join(missing)} split here, only {', '.join(dataset)}.{hint}")


def describe_sizes(info: DatasetInfo, sizes: Mapping[str, int]) -> str:
    """What to say wherever figures of a part of a data set stand; "" where it is whole, or no sizes are official.

    Args:
        info: the data set.
        sizes: pairs in each split, as they were loaded.

    Example:
    ```python
    >>> from cmr_hub.data import info
    >>> describe_sizes(info("wiki"), {"train": 100, "test": 20})
    '120 pairs (train 100, test 20); the complete data set has 2,866 (train 2,173, test 693)'
    >>> describe_sizes(info("wiki"), {"train": 2173, "test": 693})
    ''
    ```
    """
    sizes = dict(sizes)
    if DATABASE in sizes:
        sizes["train"] = sizes.pop(DATABASE)
    if not info.sizes or sizes == dict(info.sizes):
        return ""
    (here, by_split), (complete, official) = _counted(sizes), _counted(info.sizes)
    return f"{here} pairs ({by_split}); the complete data set has {complete} ({official})"


def _counted(sizes: Mapping[str, int]) -> tuple[str, str]:
    by_split = ", ".join(f"{split} {sizes[split]:,}" for split in SPLITS if split in sizes)
    return f"{sum(sizes.values()):,}", by_split


def warn_of_sizes(info: DatasetInfo, dataset: Mapping[str, Sized], note: str = "") -> None:
    """Warn where what was loaded is not the complete data set in its official splits; `note` says more about it."""
    if difference := describe_sizes(info, {split: len(rows) for split, rows in dataset.items()}):
        logger.warning("%s: %s.%s", info.name, difference, note and f" {note}")


def build(
    info: DatasetInfo,
    columns: Mapping[str, Sequence[Any] | np.ndarray],
    splits: Sequence[str],
    features: datasets.Features,
) -> datasets.DatasetDict:
    """Columns of one length to a data set with one `Dataset` a split; splits without a row are left out.

    Args:
        info: goes into the data set's own description.
        columns: column name -> `n` values. `image` holds paths, so that images stay in their files; features may be
            an `(n, d)` array.
        splits: the split of each of the `n` rows.
        features: the type of each column.
    """
    described = datasets.DatasetInfo(
        description=info.title,
        license=info.license,
        homepage=info.homepage,
        citation=info.citation,
        features=features,
    )
    result = datasets.DatasetDict()
    for split in SPLITS:
        rows = [i for i, of_row in enumerate(splits) if of_row == split]
        if rows:
            part = {name: _choose(columns[name], rows) for name in features}
            result[split] = datasets.Dataset.from_dict(part, info=described.copy(), split=datasets.NamedSplit(split))
    return result


def _choose(column: Sequence[Any] | np.ndarray, rows: list[int]) -> Sequence[Any]:
    if not isinstance(column, np.ndarray):
        return [column[i] for i in rows]
    # Past the conversion row by row: NUS-WIDE's 200 million values took a minute and 13 GB in it.
    return pa.FixedSizeListArray.from_arrays(pa.array(column[rows].reshape(-1)), column.shape[1])


def label_features(classes: Sequence[str], several: bool = False, **columns: Any) -> datasets.Features:
    """The types of `columns`, with "id" before them and "label" (`several`: "labels") behind them."""
    label = datasets.ClassLabel(names=list(classes))
    labelled = {"labels": datasets.List(label)} if several else {"label": label}
    return datasets.Features({"id": datasets.Value("string"), **columns, **labelled})


def vectors(length: int) -> datasets.List:
    """The type of a column of features: float32 vectors of one length."""
    return datasets.List(datasets.Value("float32"), length=length)


TEXTS = datasets.List(datasets.Value("string"))
