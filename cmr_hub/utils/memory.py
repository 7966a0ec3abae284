"""Limit the memory of concurrent work, and return free memory to the system."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from cmr_hub.errors import BusyError

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's malloc.h
MAPPED_BYTES, ARENAS = 4 << 20, 4
SMALL = 64  # what takes less than this part of a budget is not counted
AGAIN = "Try again in a minute, or send a smaller image."


class MemoryBudget:
    """Limits the memory of concurrent work: what exceeds the budget waits, in the order of arrival.

    Work that needs more than the whole budget waits until it is alone; work that needs less than a 64th of it is not
    counted. A thread that holds a part must not ask for another.

    Args:
        total: bytes.

    Attributes:
        held: bytes that are held now.
        patience: seconds after which waiting ends in an error; None for no end.
        most_waiting: how many may wait; more are refused at once. None for no limit.

    Example:
    ```python
    >>> budget = MemoryBudget(100)
    >>> with budget.hold(60):
    ...     budget.held
    60
    ```
    """

    def __init__(self, total: int):
        self.total, self.held = total, 0
        self.patience: float | None = None
        self.most_waiting: int | None = None
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold a part of the budget, once it is free.

        Args:
            size: bytes.

        Raises:
            BusyError: too much waits already, or waiting took longer than `patience`.
        """
        if size * SMALL < self.total:
            yield
            return
        size = min(size, self.total)
        with self._changed:
            self._wait(size)
            self.held += size
        try:
            yield
        finally:
            with self._changed:
                self.held -= size
                self._changed.notify_all()

    def _wait(self, size: int) -> None:
        if not self._waiting and self.held + size <= self.total:
            return
        if self.most_waiting is not None and len(self._waiting) >= self.most_waiting:
            raise BusyError(f"{len(self._waiting)} other large images are waiting to be opened. {AGAIN}")
        turn = object()
        self._waiting.append(turn)
        try:
            if not self._changed.wait_for(lambda: self._is_next(turn, size), self.patience):
                raise BusyError(f"A large image waited {self.patience} seconds for memory. {AGAIN}")
        finally:
            self._waiting.remove(turn)
            self._changed.notify_all()

    def _is_next(self, turn: object, size: int) -> bool:
        return self._waiting[0] is turn and self.held + size <= self.total


def keep_little_memory() -> bool:
    """Return memory of this process to the system as soon as it is free; call it before threads are started.

    By default glibc keeps blocks of up to 32 MiB for later, in up to eight arenas per processor: a server that has
    decoded large images in many threads keeps gigabytes.

    Returns:
        Whether the C library supports this: glibc does.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES) and mallopt(M_ARENA_MAX, ARENAS))
