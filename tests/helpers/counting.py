"""Workers for `test_workers.py`, in a module that other processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


class Counting:
    """Return for each task which process ran it, and with how many threads; "last" waits for "a" and "b"."""

    def __init__(self, offset: int, folder: Path):
        self.offset, self.folder = offset, folder

    def do(self, task: str) -> tuple[str, int, int, int, set[int]]:
        import torch  # here, since the processes of `Failing` do without, and start sooner
        from threadpoolctl import threadpool_info

        while task == "last" and not {"a", "b"} <= {path.name for path in self.folder.iterdir()}:
            time.sleep(0.1)
        (self.folder / task).touch()
        threads = {library["num_threads"] for library in threadpool_info()}
        return task, self.offset, os.getpid(), torch.get_num_threads(), threads


class Failing:
    """Raise an error at once or for each task, or get killed."""

    def __init__(self, error: Exception | None = None):
        if error is not None:
            raise error

    def do(self, task: Exception | str) -> None:
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise task
