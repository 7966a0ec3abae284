"""Several processes that do one job together, as `accelerate launch` starts them; a program started alone is one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar, cast

from cmr_hub.errors import OtherProcessError
from cmr_hub.utils.deprecation import RenamedAttribute

Items = TypeVar("Items", bound=Sequence)
Value = TypeVar("Value")

# How launchers say how many processes they started: torch's own, and those of MPI.
COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
PATIENCE = timedelta(days=1)  # with the slowest share of a job; the launcher ends what waits for a process that died


@dataclass(frozen=True)
class Process:
    """One of the processes that do a job together.

    Attributes:
        rank: its number, from 0.
        count: how many there are.

    Example:
    ```python
    >>> from cmr_hub.utils.processes import Process
    >>> images = ["a.jpg", "b.jpg", "c.jpg"]
    >>> [Process(rank, 2).share(images) for rank in range(2)]
    [['a.jpg', 'c.jpg'], ['b.jpg']]
    >>> Process().share(images)
    ['a.jpg', 'b.jpg', 'c.jpg']
    ```
    """

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether it is the one that writes what all have made, and says so."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other."""
        return self.count == 1

    def share(self, items: Items) -> Items:
        """What of `items` this process does: every `count`-th, so that the shares are as long and as hard."""
        return cast(Items, items[self.rank :: self.count])

    def wait(self) -> None:
        """Go on once every process has come here: what any has written before, all can read."""
        self.gather(lambda: None)

    def gather(self, work: Callable[[], Value]) -> list[Value]:
        """Do `work` in every process, and go on once all are done.

        Args:
            work: what this process does. What it returns is sent to the others, so that it should be small.

        Returns:
            What it returned in each process, by rank.

        Raises:
            OtherProcessError: another process failed. What fails here is raised as it is.

        Example:
        ```python
        >>> Process().gather(lambda: "done")
        ['done']
        ```
        """
        if self.is_alone:
            return [work()]
        from torch.distributed import all_gather_object

        value: Value | None = None
        error: Exception | None = None
        try:
            value = work()
        except Exception as raised:
            error = raised
        outcomes: list[Any] = [None] * self.count
        # As words: not every error can be sent.
        all_gather_object(outcomes, (value, None if error is None else f"{type(error).__name__}: {error}"))
        if error is not None:
            raise error
        for rank, (_, failure) in enumerate(outcomes):
            if failure is not None:
                raise OtherProcessError(f"Process {rank} failed. {failure}")
        return [value for value, _ in outcomes]

    together = RenamedAttribute("gather")
    by_main = RenamedAttribute("run_on_main")

    def run_on_main(self, work: Callable[[], Value]) -> Value:
        """What `work` returns, done by the main process alone once all have come here, in all; see [`gather`].

        Example:
        ```python
        >>> Process().run_on_main(lambda: "measured")
        'measured'
        ```
        """
        self.wait()
        return cast(Value, self.gather(work if self.is_main else lambda: None)[0])


@cache
def this_process() -> Process:
    """Which process this is.

    Alone it costs nothing. Of several, the first call connects them, so that all must make it.

    Example:
    ```python
    >>> from cmr_hub.utils.processes import this_process
    >>> this_process()
    Process(rank=0, count=1)
    ```
    """
    if all(int(os.environ.get(name, 1)) == 1 for name in COUNTS):
        return Process()
    import torch
    from accelerate import PartialState

    # On the device that the Trainer's arguments choose, which find these connections and keep them.
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    return Process(state.process_index, state.num_processes)
