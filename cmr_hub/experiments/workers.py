"""Trainings side by side: a process each, with one thread, so that no figure hangs on how many there are."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits
from transformers.utils.logging import disable_progress_bar

_worker: Worker | None = None  # of a worker process


class Worker(Protocol):
    """What one process works with."""

    def do(self, task: Any) -> Any:
        """The outcome of one task."""


def work(make: Callable[[], Worker], tasks: Iterable[Any], jobs: int) -> Iterator[Any]:
    """The outcomes of tasks, as they come.

    Args:
        make: called once in each process; what it makes does the tasks.
        tasks: begun in this order.
        jobs: how many processes; with 1 it is this one.
    """
    if jobs == 1:
        with one_thread():
            bench = make()
            yield from map(bench.do, tasks)
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start, (make, os.getpid()))
    try:
        running = [pool.submit(_do, task) for task in tasks]
        for future in as_completed(running):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch and the libraries for linear algebra compute with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def usable_cores() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(jobs: int) -> str:
    """Where this runs, as a table says it."""
    cores = usable_cores()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else torch.backends.cpu.get_cpu_capability()
    trainings = "one training at a time" if jobs == 1 else f"{jobs} trainings at a time"
    return f"{cores} {'core' if cores == 1 else 'cores'} ({platform.machine()}, {device}), {trainings}, a thread each"


def _start(make: Callable[[], Worker], parent: int) -> None:
    """Prepare a worker."""
    global _worker
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    disable_progress_bar()  # several at a time are unreadable
    torch.set_num_threads(1)
    threadpool_limits(1)
    _worker = make()


def _leave_with(parent: int) -> None:
    """End this process when the one that started it is gone, however that ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _do(task: Any) -> Any:
    return _worker.do(task)
