"""MATLAB files that come from outside: arrays of numbers, of version 5 and of version 7.3, which is HDF5.

What is no plain array of numbers (cells, structures, links to other files) is passed over, and nothing is read before
its size is known. Version 7.3 needs h5py, version 5 scipy alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from cmr_hub.errors import CMRError, DatasetError
from cmr_hub.utils.extras import require

from .base import DatasetInfo, build, label_features, vectors

MAX_VALUES = 1 << 30  # of an array that is read whole; NUS-WIDE's features are 195,834 x 4,096
HDF5_START = b"\x89HDF\r\n\x1a\n"
USER_BLOCK = 512  # MATLAB's own header stands before the HDF5 file
NUMBERS = {
    "double",
    "single",
    "logical",
    "sparse",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


@dataclass(frozen=True)
class MatArray:
    """An array in a MATLAB file that has not been read yet.

    Attributes:
        path: the file.
        name: what the file calls it.
        shape: as MATLAB has it.
    """

    path: Path
    name: str
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        """All of a matrix, `(rows, columns)` float32.

        Raises:
            DatasetError: it is no matrix, is too large, or is damaged; or a value is not finite.
        """
        if len(self.shape) != 2 or math.prod(self.shape) > MAX_VALUES:
            raise DatasetError(f"{self.path}: {self.name} has shape {self.shape}; a matrix is expected.")
        with _damage_named(self.path):
            array = _read_hdf5(self, None).T if _is_hdf5(self.path) else _read_mat5(self)
            array = np.asarray(array.toarray() if hasattr(array, "toarray") else array, np.float32)
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(bad):
            raise DatasetError(f"{self.path}: {self.name} has values that are not finite, first in row {bad[0] + 1}.")
        return array

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """The array in pieces of at most `size` along its last axis, which comes first in what is yielded.

        Of `(height, width, 3, n)` images thus `(size, height, width, 3)` at a time. Of version 7.3 no more than a
        piece is held.

        Raises:
            DatasetError: it is damaged, or a version 5 array is too large to be read whole.
        """
        length = self.shape[-1]
        if _is_hdf5(self.path):
            for start in range(0, length, size):
                with _damage_named(self.path):
                    piece = _read_hdf5(self, slice(start, start + size))
                yield piece.transpose(0, *range(piece.ndim - 1, 0, -1))
            return
        if math.prod(self.shape) > MAX_VALUES:
            raise DatasetError(f"{self.path}: {self.name} has shape {self.shape}, too large for a file of version 5.")
        with _damage_named(self.path):
            array = np.moveaxis(_read_mat5(self), -1, 0)
        for start in range(0, length, size):
            yield array[start : start + size]


def list_arrays(path: Path) -> dict[str, MatArray]:
    """Name -> array of numbers, of those in a file.

    Raises:
        DatasetError: the file is missing or no MATLAB file, or needs h5py where that is not installed.
    """
    if not path.is_file():
        raise DatasetError(f"{path} is missing.")
    if _is_hdf5(path):
        with _damage_named(path), _open_hdf5(path) as file:
            arrays = {name: _plain_dataset(file, name) for name in file}
            return {name: MatArray(path, name, each.shape[::-1]) for name, each in arrays.items() if each is not None}
    from scipy.io import whosmat

    with _damage_named(path):
        listed = whosmat(path)
    return {name: MatArray(path, name, tuple(shape)) for name, shape, kind in listed if kind in NUMBERS}


def find_array(path: Path, names: Sequence[str]) -> MatArray:
    """The array that a file has under one of `names`, the first of them that is there.

    Raises:
        DatasetError: see [`list_arrays`]; or there is none of them.
    """
    arrays = list_arrays(path)
    for name in names:
        if name in arrays:
            return arrays[name]
    raise DatasetError(f"{path} has no array of numbers {' or '.join(names)}, only {', '.join(arrays) or 'none'}.")


def read_matrices(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """The matrices of these names, all of which one file must have; see [`MatArray.read`]."""
    return [find_array(path, [name]).read() for name in names]


@dataclass(frozen=True)
class Part:
    """The pairs of a split that are released as features.

    Attributes:
        images: `(n, image_dim)` float32.
        texts: `(n, text_dim)` float32.
        categories: `(n, 1)` or `(1, n)`, the number of each pair's class.
    """

    images: np.ndarray
    texts: np.ndarray
    categories: np.ndarray


def build_parts(info: DatasetInfo, where: Path, parts: Mapping[str, Part]) -> datasets.DatasetDict:
    """Features as a data set; the first pair of the training split has the id "train-1".

    Args:
        info: the data set.
        where: what was read, for messages.
        parts: split -> its pairs. Their classes may be counted from 0 or from 1.

    Raises:
        DatasetError: arrays of different lengths, vectors of different lengths, or a number that is no class.
    """
    first = 0 if any((part.categories == 0).any() for part in parts.values()) else 1
    columns: dict[str, list] = {"id": [], "image_features": [], "text_features": [], "label": []}
    splits: list[str] = []
    for split, part in parts.items():
        if not len(part.images) == len(part.texts) == part.categories.size:
            raise DatasetError(
                f"{where}: the {split} part has {len(part.images)} images, {len(part.texts)} texts and "
                f"{part.categories.size} classes."
            )
        columns["id"] += [f"{split}-{number}" for number in range(1, len(part.images) + 1)]
        columns["image_features"] += list(part.images)
        columns["text_features"] += list(part.texts)
        columns["label"] += category_numbers(f"{where}, {split} part", part.categories, len(info.classes), first)
        splits += [split] * len(part.images)
    widths = {(part.images.shape[1], part.texts.shape[1]) for part in parts.values()}
    if len(widths) > 1:
        raise DatasetError(f"{where}: the parts have vectors of different lengths, {sorted(widths)}.")
    image_width, text_width = widths.pop()
    types = {"image_features": vectors(image_width), "text_features": vectors(text_width)}
    return build(info, columns, splits, label_features(info.classes, **types))


def category_numbers(where: str, categories: np.ndarray, classes: int, first: int) -> list[int]:
    """Class numbers, counted from `first`, as ids counted from 0.

    Raises:
        DatasetError: a number is none of a class; `where` says of what.
    """
    numbers = categories.reshape(-1) - first
    wrong = np.flatnonzero((numbers != np.round(numbers)) | (numbers < 0) | (numbers >= classes))
    if len(wrong):
        raise DatasetError(
            f"{where}: {categories.reshape(-1)[wrong[0]]:g} in row {wrong[0] + 1} is no class; they are numbered "
            f"{first} to {first + classes - 1}."
        )
    return numbers.astype(int).tolist()


def numbered_classes(count: int) -> tuple[str, ...]:
    """Names for classes of a release that only numbers them.

    Example:
    ```python
    >>> numbered_classes(2)
    ('class 1', 'class 2')
    ```
    """
    return tuple(f"class {number}" for number in range(1, count + 1))


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(USER_BLOCK + len(HDF5_START))
    return HDF5_START in (head[: len(HDF5_START)], head[USER_BLOCK:])


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except CMRError:
        raise
    except Exception as error:  # the readers raise whatever the damage leads to
        raise DatasetError(f"{path} cannot be read as a MATLAB file ({error}). Fetch it anew.") from error


def _open_hdf5(path: Path) -> Any:
    return require("h5py", "mat", f"{path}, a MATLAB file of version 7.3,").File(path, "r")


def _plain_dataset(file: Any, name: str) -> Any:
    """The HDF5 dataset of this name; None where it is none of numbers, or its numbers lie in another file."""
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return None
    found = file[name]
    is_plain = isinstance(found, h5py.Dataset) and found.dtype.kind in "biuf" and found.ndim >= 2
    return found if is_plain and not found.is_virtual and found.external is None else None


def _read_hdf5(array: MatArray, piece: slice | None) -> np.ndarray:
    """Values with the axes in the file's order, which is the reverse of MATLAB's."""
    with _open_hdf5(array.path) as file:
        found = _plain_dataset(file, array.name)
        return found[...] if piece is None else found[piece]


def _read_mat5(array: MatArray) -> Any:
    from scipy.io import loadmat

    return loadmat(array.path, variable_names=[array.name])[array.name]
