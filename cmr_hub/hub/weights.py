"""Digests of weights, which say what weights a record belongs to."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from cmr_hub.errors import CheckpointError
from cmr_hub.utils.checksums import files_checksum

WEIGHTS_KEY = "weights_xxh3_128"  # in a card's metadata


def weights_digest(folder: Path) -> str:
    """The xxh3_128 digest of a checkpoint's weights: its safetensors files, one after another in the order of names.

    `cat *.safetensors | xxh128sum` prints the same. Files are read once, and again when they have changed.
    """
    paths = sorted(folder.glob("*.safetensors"))
    return _digest(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths))


@lru_cache(maxsize=256)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    return files_checksum(path for path, _, _ in files).digest


def is_of_other_weights(recorded: str | None, folder: Path) -> bool:
    """Whether a record is of other weights than those of its folder; records of before version 0.2 do not say."""
    return recorded is not None and recorded != weights_digest(folder)


def check_weights(recorded: str | None, record: Path) -> None:
    """Refuse a record that is of other weights than those next to it.

    Args:
        recorded: the digest that it gives.
        record: its file.

    Raises:
        CheckpointError: they are other weights.
    """
    if is_of_other_weights(recorded, record.parent):
        raise CheckpointError(
            f"{record} is of other weights than those in the folder (xxh3_128 {recorded}, found "
            f"{weights_digest(record.parent)}): train again, or restore the weights that it was measured with."
        )
