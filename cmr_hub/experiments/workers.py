"""Run single-threaded training jobs in parallel; results do not depend on the number of jobs."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol

from transformers.utils.logging import disable_progress_bar

from cmr_hub.errors import TrainingError
from cmr_hub.utils.extras import require

IDLE_SECONDS = 20  # after which a worker process without a task ends and frees its data

_make: Callable[[], Worker]  # of a worker process
_worker: Worker | None = None  # of a worker process, once it has done a task


class Worker(Protocol):
    """Does the tasks of one process, with data that the process loads once."""

    def do(self, task: Any) -> Any:
        """Do one task and return its result."""


def work(make: Callable[[], Worker], tasks: Iterable[Any], jobs: int) -> Iterator[Any]:
    """Do tasks in parallel and yield their results as they come.

    Every process computes with one thread. The processes end with this one, however it ends, and at once where the
    iteration stops early.

    Args:
        make: called once in each process, to make the worker that does its tasks. It must be picklable.
        tasks: begun in this order.
        jobs: number of processes; with 1 the tasks are done in this process.

    Raises:
        TrainingError: a process was killed. An error that `make` or a task raises is raised as it is.
    """
    if jobs == 1:
        with one_thread():
            worker = make()
            yield from map(worker.do, tasks)
        return
    joblib = require("joblib", "train", "Training several models at a time")
    start = {"initializer": _start, "initargs": (make, os.getpid())}
    with joblib.parallel_config("loky", inner_max_num_threads=1, idle_worker_timeout=IDLE_SECONDS, **start):
        pool = joblib.Parallel(jobs, return_as="generator_unordered", batch_size=1)
    try:
        yield from pool(joblib.delayed(_do)(task) for task in tasks)
    except BrokenProcessPool as error:
        raise TrainingError(
            f"One of {jobs} training processes was killed, probably because the machine ran out of memory. Train "
            f"fewer at a time (--jobs). {error}"
        ) from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and the libraries for linear algebra compute with one thread."""
    import torch  # here, since worker processes import this module and need torch only where their tasks do

    threadpoolctl = require("threadpoolctl", "train", "Training with one thread")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(jobs: int) -> str:
    """Describe the hardware and the number of jobs, for the header of a table."""
    import torch

    cores = usable_cores()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else torch.backends.cpu.get_cpu_capability()
    trainings = "one training at a time" if jobs == 1 else f"{jobs} trainings at a time"
    return f"{cores} {'core' if cores == 1 else 'cores'} ({platform.machine()}, {device}), {trainings}, a thread each"


def _start(make: Callable[[], Worker], parent: int) -> None:
    """Prepare a worker process."""
    global _make
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    disable_progress_bar()  # bars of several processes overwrite each other
    _make = make


def _exit_with(parent: int) -> None:
    """End this process once its parent is gone: loky's workers finish their task first, which may take hours."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _do(task: Any) -> Any:
    global _worker
    if _worker is None:  # not made in `_start`, whose errors loky logs and does not pass on
        _worker = _make()
    return _worker.do(task)
