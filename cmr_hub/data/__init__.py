"""The data sets: each an official archive, folder, package or Hub repo that becomes a `datasets.DatasetDict`.

Columns, where the source has them: `image` (Image, decoded only when read), `texts` (list of strings), `label`
(ClassLabel) or `labels` (list of ClassLabel), `id` (string, unique), `image_features` and `text_features` (float32
vectors of one width). Splits: "train", "validation" where the source defines one or leaves it to us, "test".

`@register_dataset` makes a loader known by name: in this folder, in an installed package that has an entry point in
the group `cmr_hub.datasets`, or in your own script.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cmr_hub.errors import DatasetError, InputError
from cmr_hub.utils.registry import DEFAULT_ORDER, Registry

if TYPE_CHECKING:
    from datasets import DatasetDict

    from .base import DatasetInfo, Loader, ProgressCallback

    LoaderClass = TypeVar("LoaderClass", bound=Loader)

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
DATASETS: Registry[type[Loader]] = Registry(
    "data set",
    decorator="register_dataset",
    package="cmr_hub.data",
    group="cmr_hub.datasets",
    base="cmr_hub.data.base:Loader",
)


def register_dataset(
    name: str, *, display_order: int = DEFAULT_ORDER
) -> Callable[[type[LoaderClass]], type[LoaderClass]]:
    """Register the loader of a data set.

    Args:
        name: what `load_dataset` calls it: the name in its `info`.
        display_order: data sets are listed by it, then by name.

    Raises:
        InputError: the name is no text without white space.
        DuplicateNameError: another class has the name.
        TypeError: the class is no `Loader`, or its `info` has another name.

    Example:
    ```python
    @register_dataset("toy")
    class Toy(Loader):
        info = DatasetInfo(name="toy", title="Toy data", ...)
    ```
    """
    add = DATASETS.register(name, display_order=display_order)

    def register(cls: type[LoaderClass]) -> type[LoaderClass]:
        DATASETS.check_class(cls)
        if cls.info.name != name:
            raise TypeError(f"{cls.__name__} is registered as {name!r}, but its info is of {cls.info.name!r}.")
        add(cls)
        return cls

    return register


def list_datasets(pattern: str = "*") -> list[str]:
    """Names of the data sets, sorted, those that match a shell-style pattern.

    Example:
    ```python
    >>> from cmr_hub.data import list_datasets
    >>> list_datasets("flickr*")
    ['flickr30k', 'flickr8k']
    ```
    """
    return DATASETS.list(pattern)


def info(name: str) -> DatasetInfo:
    """What a data set is: title, licence, source, citation, classes, columns, and how to get it. Reads no data.

    Raises:
        UnknownNameError: there is no data set of this name.

    Example:
    ```python
    >>> from cmr_hub.data import info
    >>> info("wiki").sizes
    {'train': 2173, 'test': 693}
    ```
    """
    return _loader(name).info


def is_available(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Whether `load_dataset(name, data_dir)` would find its data on this machine; downloads and decodes nothing.

    Raises:
        UnknownNameError: there is no data set of this name.

    Example:
    ```python
    >>> from cmr_hub.data import is_available
    >>> is_available("emoji")
    True
    ```
    """
    return _loader(name).is_available(_folder(data_dir))


def load_dataset(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    progress: ProgressCallback | None = None,
    train_rows: int | None = None,
    **options: Any,
) -> DatasetDict:
    """Load a data set; see the module's docstring for its columns.

    Args:
        name: one of [`list_datasets`], or the repo id of a data set on the Hub, "owner/name".
        data_dir: where its files are. Without it they are taken from the cache folder of the data sets, and
            downloaded into it from the official source the first time.
        progress: called with a fraction in [0, 1] and a line of text while a step that takes time is under way;
            the fraction is that of the step that the line names. A terminal shows a progress bar in any case.
        train_rows: learn from so many pairs of the training split alone, as papers on hashing do. All of it is then
            the split "database", which protocols that search the training split search.
        **options: what the data set's own loader takes beyond this: `label_separator` of "folder", `complete_classes`
            of "pascal", `labelled_only` of "mscoco", `config` and `revision` of a repo of the Hub and so on.

    Returns:
        `datasets.DatasetDict` with the splits of the data set. Images are references to files, not copies.

    Raises:
        UnknownNameError: there is no data set of this name.
        InputError: the data set takes no such option.
        DatasetError: the folder is missing, has another layout, or holds unusable rows.
        DownloadError: the official source cannot be reached (or must not be: offline mode), or sent damaged data.

    Example:
    ```python
    >>> from cmr_hub.data import load_dataset
    >>> emoji = load_dataset("emoji")
    >>> emoji["train"].column_names
    ['id', 'image', 'texts', 'label']
    ```
    """
    loader = _loader(name)
    taken = sorted({*signature(loader.load).parameters, "train_rows"} - {"folder", "progress"})
    if unknown := sorted(options.keys() - set(taken)):
        raise InputError(
            f"Data set {name!r} takes no option {', '.join(unknown)}; its options: {', '.join(taken) or 'none'}."
        )
    folder = _folder(data_dir)
    if folder is not None and not folder.is_dir():
        what = f"{folder} is a file: unpack it" if folder.is_file() else f"there is no folder {folder}"
        raise DatasetError(f"Data set {name!r}: {what}. Give an existing folder as data_dir.")
    dataset = loader.load(folder, progress=progress, **options)
    if train_rows is None:
        return dataset
    from .base import with_database

    return with_database(dataset, train_rows, loader.info.is_drawn)


def is_repo_id(name: str) -> bool:
    """Whether a name is one of the Hub, "owner/name", which [`load_dataset`] takes too."""
    return REPO_ID.fullmatch(name) is not None and name not in DATASETS


def _loader(name: str) -> Loader:
    if not is_repo_id(name):
        return DATASETS[name]()
    from .hub_repo import HubRepo

    return HubRepo(name)


def _folder(data_dir: str | os.PathLike | None) -> Path | None:
    return None if data_dir is None else Path(data_dir).expanduser().absolute()
