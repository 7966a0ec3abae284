"""Kill processes that save, build and train, by SIGKILL: nothing that was there is lost, and the work goes on."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attempts import ANSWERED, Attack, Attempt, Failure
from jobs import Job, all_jobs
from saved import SHARD_ROWS

# Python's audit events of file operations; native code of libraries writes between two of them.
EVENTS = frozenset(["open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree"])
PATIENCE = 60.0  # seconds that a child may take to begin or end
LOOP = 0.6  # seconds within which one that saves again and again is killed


class Kills(Attack):
    """SIGKILL at a random moment, or at a random file operation."""

    name = "kills"
    tries = 75
    seconds = 90.0

    def prepare(self) -> None:
        # One process imports everything, and is forked for each try.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["kills"])
        self.resources.enter_context(patch("cmr_hub.retrieval.gallery_storage.SHARD_ROWS", SHARD_ROWS))
        self.jobs = all_jobs(self.folder)
        self.measured: dict[str, tuple[int, float]] = {}

    def attempt(self, random: random.Random, attempt: Attempt) -> str:
        group = random.choice([*sorted({job.group for job in self.jobs.values()}), "build", "train", "train"])
        job = random.choice([job for job in self.jobs.values() if job.group == group])
        attempt.does(group, f"{job.name}, unharmed")
        operations, seconds = self._measure(job)
        folder = self.folder / "tried" / job.name
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        job.start(folder)
        if random.random() < 0.5:
            stop_at = random.randrange(operations)
            attempt.does(group, f"{job.name}, killed at file operation {stop_at} of {operations}")
            self._run(job, folder, stop_at=stop_at)
        else:
            again = job.group.startswith("save")
            after = random.uniform(0, LOOP if again else seconds)
            attempt.does(group, f"{job.name}, killed after {after:.3f} s of {'many' if again else f'{seconds:.1f}'}")
            self._run(job, folder, again=again, after=after)
        job.check(folder)
        return ANSWERED

    def _measure(self, job: Job) -> tuple[int, float]:
        """Return how many file operations and seconds a whole job takes."""
        if job.name not in self.measured:
            folder = self.folder / "measured" / job.name
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.parent.mkdir(exist_ok=True)
            job.start(folder)
            self.measured[job.name] = self._run(job, folder)
            job.check(folder)
        return self.measured[job.name]

    def _run(self, job: Job, folder: Path, after: float | None = None, **options: Any) -> tuple[int, float]:
        """Do the work in a child, killed `after` some seconds; return operations and seconds of one that ends."""
        ours, theirs = self.context.Pipe()
        child = self.context.Process(target=_work, args=(self.folder, job.name, folder, theirs), kwargs=options)
        child.start()
        theirs.close()
        try:
            if not ours.poll(PATIENCE):
                raise Failure("the child did not begin")
            ours.recv()
            if after is not None:
                time.sleep(after)
            elif options.get("stop_at") is None:
                return ours.recv()
            else:
                child.join(PATIENCE)
        except EOFError as error:
            raise Failure(f"the child failed (exit status {child.exitcode})") from error
        finally:
            if after is not None or child.exitcode is None:
                child.kill()
            child.join()
            ours.close()
        if child.exitcode not in (0, -signal.SIGKILL):
            raise Failure(f"the child failed by itself (exit status {child.exitcode})")
        return 0, 0.0


def _work(
    scratch: Path, name: str, folder: Path, pipe: Connection, stop_at: int | None = None, again: bool = False
) -> None:
    """What the child does.

    Args:
        scratch: of the attack.
        name: of the job.
        folder: it works in.
        pipe: receives None when the work begins, and at its end the number of file operations and seconds.
        stop_at: the file operation at which the child kills itself.
        again: work on and on.
    """
    from campaign import quieten

    quieten()
    count = 0
    is_working = False

    def watch(event: str, args: tuple) -> None:
        nonlocal count
        if is_working and event in EVENTS:
            if count == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    with patch("cmr_hub.retrieval.gallery_storage.SHARD_ROWS", SHARD_ROWS):
        job = all_jobs(scratch)[name]
        sys.addaudithook(watch)
        pipe.send(None)
        started, is_working = time.monotonic(), True
        job.work(folder)
        while again:
            job.saved.save(folder, 0)
            job.work(folder)
    pipe.send((count, time.monotonic() - started))
