"""Several processes that do one job together, as `accelerate launch` starts them; a program started alone is one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from accelerate import PartialState

Items = TypeVar("Items", bound=Sequence)

# How launchers say how many processes they started: torch's own, and those of MPI.
COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
PATIENCE = timedelta(days=1)  # with the slowest share of a job: a process that died ends the others anyway


@dataclass(frozen=True)
class Process:
    """One of the processes that do a job together.

    Attributes:
        rank: its number, from 0.
        count: how many there are.

    Example:

    ```python
    >>> from cmr_hub.processes import Process
    >>> pictures = ["a.jpg", "b.jpg", "c.jpg"]
    >>> [Process(rank, 2).share(pictures) for rank in range(2)]
    [['a.jpg', 'c.jpg'], ['b.jpg']]
    >>> Process().share(pictures)
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
        return items[self.rank :: self.count]

    def wait(self) -> None:
        """Go on once every process has come here: what any has written before, all can read."""
        if not self.is_alone:
            _state().wait_for_everyone()


def this_process() -> Process:
    """Which process this is.

    Alone it costs nothing. Of several, the first call connects them, so that all must make it.

    Example:

    ```python
    >>> from cmr_hub.processes import this_process
    >>> this_process()
    Process(rank=0, count=1)
    ```
    """
    if all(int(os.environ.get(name, 1)) == 1 for name in COUNTS):
        return Process()
    state = _state()
    return Process(state.process_index, state.num_processes)


def _state() -> PartialState:
    import torch
    from accelerate import PartialState

    # As the Trainer's arguments are made, which find these connections and keep them.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
