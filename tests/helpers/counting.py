"""A worker for `test_workers.py`, in a module that processes of their own can import."""

from __future__ import annotations

import os
import time

import torch
from threadpoolctl import threadpool_info


class Counting:
    """Return for each task which process ran it, and with how many threads."""

    def __init__(self, offset: int):
        self.offset = offset

    def do(self, task: str) -> tuple[str, int, int, int, set[int]]:
        if task == "slow":
            time.sleep(2)
        threads = {library["num_threads"] for library in threadpool_info()}
        return task, self.offset, os.getpid(), torch.get_num_threads(), threads
