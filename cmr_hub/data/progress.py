"""Progress of a long step, on the terminal and for a callback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from .base import ProgressCallback


@contextmanager
def stepwise(
    message: str, unit: str, progress: ProgressCallback | None
) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on the terminal that also tells `progress`; yields `at(done, total)`."""
    with tqdm(desc=message, unit=unit, unit_scale=unit == "B") as bar:

        def at(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if progress is not None:
                progress(min(done / total, 1.0) if total else 0.0, message)

        yield at
