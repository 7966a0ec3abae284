"""Save, build and train while the disk is full: a clear error, and what was there before is whole."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from attempts import ANSWERED, REFUSED, Attack, Attempt, Failure
from cmr_hub.errors import CMRError
from jobs import Job, all_jobs
from saved import SHARD_ROWS

DISK = 32_000_000
MIN_MESSAGE = 20


class FullDisk(Attack):
    """The disk is full after a random number of bytes."""

    name = "full-disk"
    tries = 100
    seconds = 60.0

    def prepare(self) -> None:
        self.resources.enter_context(patch("cmr_hub.retrieval.gallery_storage.SHARD_ROWS", SHARD_ROWS))
        self.jobs = all_jobs(self.folder)
        self.disk = self.resources.enter_context(small_disk(self.folder / "disk"))
        self.sizes: dict[str, int] = {}

    def attempt(self, random: random.Random, attempt: Attempt) -> str:
        group = random.choice(sorted({job.group for job in self.jobs.values()}))
        job = random.choice([job for job in self.jobs.values() if job.group == group])
        attempt.does(group, f"{job.name}, unharmed")
        size = self._measure(job)
        room = random.randrange(int(size * job.peak))
        attempt.does(group, f"{job.name}, room for {room:,} of {size:,} bytes")
        folder = self.disk.folder / job.name
        self.disk.clear()
        job.start(folder)
        error: Exception | None = None
        try:
            with self.disk.full_after(room):
                job.work(folder)
        except Exception as raised:
            error = raised
        job.check(folder)  # whatever the error was
        if error is None:
            return ANSWERED
        if not isinstance(error, CMRError):
            raise error
        if len(str(error)) < MIN_MESSAGE:
            raise Failure(f"refused without a reason: {error!r}")
        return REFUSED

    def _measure(self, job: Job) -> int:
        """How many bytes the whole of it leaves on disk."""
        if job.name not in self.sizes:
            folder = self.disk.folder / job.name
            self.disk.clear()
            job.start(folder)
            job.work(folder)
            self.sizes[job.name] = 4096 + self.disk.largest(folder)
        return self.sizes[job.name]


class Disk(ABC):
    """A folder that can be full."""

    def __init__(self, folder: Path):
        self.folder = folder

    def clear(self) -> None:
        """Remove everything."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    @abstractmethod
    def full_after(self, room: int) -> Iterator[None]:
        """A context in which no more than so many bytes can be written."""

    @abstractmethod
    def largest(self, folder: Path) -> int:
        """What `room` has to be for the files in a folder."""


class SmallDisk(Disk):
    """A file system of its own, which a file fills."""

    @contextmanager
    def full_after(self, room: int) -> Iterator[None]:
        status = os.statvfs(self.folder)
        filling = self.folder / "filling"
        with filling.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, status.f_bavail * status.f_bsize - room))
        try:
            yield
        finally:
            filling.unlink()

    def largest(self, folder: Path) -> int:
        return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


class SmallFiles(Disk):
    """A folder of the disk that there is, for those who may not mount one: no file may become larger."""

    @contextmanager
    def full_after(self, room: int) -> Iterator[None]:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def largest(self, folder: Path) -> int:
        return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """A small file system, or, for those who may not mount one, a folder whose files may not become larger."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        yield SmallFiles(folder)
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # files may still be mapped
