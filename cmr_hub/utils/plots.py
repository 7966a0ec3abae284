"""Figures on disk: what both of the commands that draw share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cmr_hub.errors import InputError

from .extras import require
from .files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")


def check_suffix(path: Path) -> None:
    """Raise InputError for a file that a figure cannot be written to, before anything is computed."""
    require("matplotlib", "train", "A figure")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"A figure is written as {', '.join(SUFFIXES)}, which {path} does not end in.")


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's suffix, beside and then renamed.

    Raises:
        InputError: the suffix is of no such format.
    """
    check_suffix(path)
    with atomic_file(path) as scratch:
        figure.savefig(scratch)
