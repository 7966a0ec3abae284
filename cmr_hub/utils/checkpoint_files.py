"""Read the files of a checkpoint, gallery or index, which anybody may have written.

A file is read only if it is a regular file inside its folder and not too large, and a name that a configuration gives
is a plain relative one. Everything else is a `CheckpointError` that names the file. Links may lead to other files of
the same folder, or of a snapshot in the Hub's cache to the blobs of its repo.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import msgspec

from cmr_hub.errors import CheckpointError

from .messages import name_some

if TYPE_CHECKING:
    import numpy as np
    import torch
    from safetensors import safe_open

MAX_JSON_BYTES = 8 << 20  # a configuration of 20,000 named classes has about 1 MB
MAX_DEPTH = 64  # levels of JSON; whoever walks through it may do so by recursion
MAX_WORDS_BYTES = 64 << 20  # the 2.2 million words of glove.840B have 25 MB
# What loading looks at: by these endings it finds its files, or transformers finds its own.
SUFFIXES = frozenset({".json", ".jsonl", ".safetensors", ".txt", ".model", ".parquet"})


def inner_path(folder: Path, name: object) -> Path:
    """The path of a file or folder of a checkpoint that its configuration names; it need not exist.

    Args:
        folder: of the checkpoint.
        name: from the configuration.

    Raises:
        CheckpointError: the name is no plain relative one, or it leads out of the folder through a link.

    Example:
    ```python
    >>> inner_path(Path("checkpoint"), "image_encoder").as_posix()
    'checkpoint/image_encoder'
    ```
    """
    if not _is_plain(name):
        raise CheckpointError(
            f"{folder} names the file or folder {name!r:.200}. Only plain relative names inside a checkpoint's own "
            "folder are read and written."
        )
    path = folder / str(name)
    _resolved(path, folder)
    return path


def _is_plain(name: object) -> bool:
    if not isinstance(name, str) or not name.isprintable() or ":" in name or "\\" in name:
        return False
    parts = PurePosixPath(name).parts
    is_absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    return bool(parts) and not is_absolute and ".." not in parts


def _resolved(path: Path, folder: Path) -> Path:
    """The path without links, which must lie in the folder or in the blobs of its snapshot.

    Raises:
        CheckpointError: it leads out, or its links are a circle.
    """
    try:
        root, real = folder.resolve(), path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError of a circle of links
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    snapshots = next((parent for parent in (root, *root.parents) if parent.name == "snapshots"), None)
    roots = [root] if snapshots is None else [root, snapshots.parent / "blobs"]
    if not any(real.is_relative_to(each) for each in roots):
        raise CheckpointError(
            f"{path} is a link that leads out of its folder, to {real}. Put the file itself into the folder."
        )
    return real


def check_regular(path: Path, folder: Path | None = None) -> os.stat_result:
    """Refuse a file of a checkpoint that is no regular file inside its folder: opening a pipe would wait for ever.

    Args:
        path: of the file.
        folder: of the checkpoint; by default the one that the file is in.

    Returns:
        What the system knows of the file.

    Raises:
        CheckpointError: it is missing, a folder, a pipe or a device, cannot be looked at, or leads out of the folder.
    """
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode) or path.parent != (folder or path.parent):
            found = _resolved(path, folder or path.parent).stat()
    except FileNotFoundError:
        if not path.parent.exists():
            raise CheckpointError(f"There is no folder {path.parent} (looked in {Path.cwd()}).") from None
        raise CheckpointError(
            f"{path.parent} is no complete checkpoint, gallery or index: it has no {path.name}."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        raise CheckpointError(f"{path} is {kind}, and a file is expected. Fetch the checkpoint again.")
    return found


def check_folder(folder: Path) -> None:
    """Refuse a folder with a file that whoever loads it, transformers included, must not open.

    Only the folder's own entries are looked at, not those of folders inside it.

    Raises:
        CheckpointError: an entry with the name of a data file is no regular file inside the folder; or the folder has
            weights that are not the checkpoint's own (an adapter, parts of a distributed training).
    """
    try:
        with os.scandir(folder) as entries:
            names = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read: {error.strerror}.") from None
    for name, is_regular in names.items():
        if not is_regular and os.path.splitext(name)[1] in SUFFIXES:
            check_regular(folder / name)
        if name.startswith("adapter_config.") or (name.startswith("shard-") and name.endswith(".safetensors")):
            raise CheckpointError(
                f"{folder / name} belongs to an adapter or to a distributed checkpoint, and only whole weights in "
                "model.safetensors are read. Merge it into the model and save that."
            )


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        CheckpointError: as [`check_regular`], or it is larger.
    """
    size = check_regular(path).st_size
    if size > limit:
        raise CheckpointError(f"{path} has {size:,} bytes, and {limit:,} are expected at most.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint.

    Raises:
        CheckpointError: the file is missing, too large or no regular file, or is no JSON object.
    """
    try:
        content = json.loads(read_bytes(path, MAX_JSON_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:  # the latter of very deep nesting
        raise CheckpointError(f"{path} is no valid JSON: {error}.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a JSON object, and holds a {type(content).__name__}.")
    if _depth(content) > MAX_DEPTH:
        raise CheckpointError(f"{path} is nested more than {MAX_DEPTH} levels deep. Fetch it again.")
    return content


def _depth(content: Any) -> int:
    """How many levels of objects and lists JSON values have, without recursion."""
    levels, level = 0, [content]
    while level := [part for part in level if isinstance(part, dict | list)]:
        levels += 1
        level = [each for part in level for each in (part.values() if isinstance(part, dict) else part)]
    return levels


def read_words(path: Path) -> list[str]:
    """The JSON list of different strings in a file of a checkpoint.

    Raises:
        CheckpointError: the file is missing, too large or no regular file, or is no such list.
    """
    try:
        words = msgspec.json.decode(read_bytes(path, MAX_WORDS_BYTES), type=list[str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON list of words ({error}). Fetch it again.") from None
    if len(set(words)) < len(words):
        raise CheckpointError(f"{path} is not a list of different words. Fetch it again.")
    return words


def open_tensors(path: Path) -> safe_open:
    """A safetensors file of a checkpoint, its header read and compared with its size.

    Raises:
        CheckpointError: it is missing, no regular file or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    check_regular(path)
    try:
        return safe_open(path, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not readable as safetensors ({error}). Fetch it again.") from None


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file of a checkpoint, all of finite numbers.

    Raises:
        CheckpointError: as [`open_tensors`]; or an array holds NaN or infinity, or is of a type that numpy lacks.
    """
    from safetensors import SafetensorError

    with open_tensors(path) as file:
        try:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        except (SafetensorError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path} is not readable as safetensors ({error}). Fetch it again.") from None
    check_finite(arrays, path)
    return arrays


def check_finite(arrays: Mapping[str, np.ndarray] | Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse arrays or tensors with NaN or infinity; each is read once, and nothing is copied.

    Raises:
        CheckpointError: names the file, the array and the row.
    """
    for name, values in arrays.items():
        if 0 in values.shape or _is_finite(values):
            continue
        rows = [row for row, value in enumerate(values) if not _is_finite(value)] if values.ndim else [0]
        raise CheckpointError(
            f"{path} holds NaN or infinity in {name}, row {rows[0]} ({len(rows)} such rows). Fetch it again."
        )


def _is_finite(values: np.ndarray | torch.Tensor) -> bool:
    return math.isfinite(values.max()) and math.isfinite(values.min())  # both NaN where there is one


def array_of(arrays: Mapping[str, np.ndarray], name: str, kinds: str, ndim: int, path: Path) -> np.ndarray:
    """One of the arrays of a file, of the expected type and number of dimensions.

    Args:
        arrays: of the file.
        name: of the array.
        kinds: numpy's letters of the kinds of types that it may have: "f" floats, "i" and "u" whole numbers.
        ndim: number of dimensions.
        path: of the file, for the error.

    Raises:
        CheckpointError: there is no such array, or it is another.
    """
    if name not in arrays:
        raise CheckpointError(f"{path} has no {name}, only {name_some(arrays) or 'nothing'}. Fetch it again.")
    array = arrays[name]
    if array.dtype.kind not in kinds or array.ndim != ndim:
        raise CheckpointError(
            f"{name} in {path} has the shape {array.shape} and the type {array.dtype}; {ndim} dimensions of "
            f"{'floats' if 'f' in kinds else 'whole numbers'} are expected. Fetch it again."
        )
    return array
