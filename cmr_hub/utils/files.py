"""Writing to disk so that nothing already saved is lost and nothing is half-written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """A scratch folder inside `folder`, whose files replace those of `folder` only when the block ends well.

    Every file is complete on disk before the first is renamed over its predecessor; a full disk, an error or an
    interrupt inside the block leaves `folder` exactly as it was. Other files of `folder` stay.

    Example:
    ```python
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "checkpoint"
    >>> with atomic_folder(target) as scratch:
    ...     _ = (scratch / "config.json").write_text("{}")
    >>> [path.name for path in target.iterdir()]
    ['config.json']
    ```
    """
    folder = Path(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        yield scratch
        written = sorted(path for path in scratch.rglob("*") if path.is_file())
        for path in written:
            _flush(path)
        for path in written:
            target = folder / path.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
        is_new = False
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if is_new:
            folder.rmdir()


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """A scratch path in the folder of `path` that replaces it only when the block ends well; see [`atomic_folder`]."""
    with atomic_folder(Path(path).parent) as scratch:
        yield scratch / Path(path).name


def _flush(path: Path) -> None:
    path.chmod(0o644)  # safetensors writes files that only their owner may read
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def cache_folder(*parts: str) -> Path:
    """A folder for what can be made again: `$CMR_HUB_CACHE`, or `cmr_hub` beside the Hugging Face cache."""
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("CMR_HUB_CACHE", Path(HF_HOME) / "cmr_hub")).joinpath(*parts)
