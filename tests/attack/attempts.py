"""One try of the attack campaign: what it did, how it ended, and the limits that it ran within."""

from __future__ import annotations

import ctypes
import os
import random
import resource
import signal
import struct
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

MB = 1_000_000
REFUSED, ANSWERED = "refused", "answered"


class Failure(AssertionError):
    """What must not happen did."""


class _TookTooLong(BaseException):
    """The time of a try is over; nothing between the alarm and the campaign catches this class."""


@dataclass
class Attempt:
    """One try, which the attack fills in.

    Attributes:
        kind: name of the attack.
        seed: repeats it, together with the kind.
        group: what was attacked.
        what: what was done to it.
        end: "refused" (with a clear error) or "answered" (as it should be); "" until then.
        failure: what went wrong; None of a try that held.
        seconds: how long it took.
        tell: called with every change of what is done.
    """

    kind: str
    seed: int
    group: str = ""
    what: str = ""
    end: str = ""
    failure: str | None = None
    seconds: float = 0.0
    tell: Callable[[Attempt], None] | None = None

    def does(self, group: str, what: str) -> None:
        """Say what is being done, before it is done."""
        self.group, self.what = group, what
        if self.tell is not None:
            self.tell(replace(self, tell=None))


class Attack(ABC):
    """One kind of attack, whose tries are drawn from their seeds.

    Args:
        folder: scratch space of this attack alone.

    Attributes:
        name: as `--only` has it.
        tries: how many the campaign makes.
        seconds, megabytes: what one try may take; the memory is that of this process.
        canary: files outside of everything that is attacked, which nobody may open.
    """

    name: ClassVar[str]
    tries: ClassVar[int]
    seconds: ClassVar[float] = 20.0
    megabytes: ClassVar[int] = 700

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True)
        self.resources = ExitStack()
        self.canary = self.resources.enter_context(Canary(folder / "outside", self.canary_files()))

    def __enter__(self) -> Self:
        try:
            self.prepare()
        except BaseException:
            self.resources.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.resources.close()

    def canary_files(self) -> Mapping[str, bytes]:
        """The files of the canary: name -> content."""
        return {"secret.txt": b"a secret"}

    def prepare(self) -> None:  # noqa: B027  not every attack needs it
        """Make what all tries share; what has to be closed goes into `resources`."""

    @abstractmethod
    def attempt(self, random: random.Random, attempt: Attempt) -> str:
        """Make one try, and judge it.

        Args:
            random: everything that is drawn is drawn from it.
            attempt: receives what is done.

        Returns:
            How the try ended: `REFUSED` or `ANSWERED`.

        Raises:
            Failure: what must not happen did. Any other exception counts as a failure too.
        """

    def run(self, seed: int, tell: Callable[[Attempt], None] | None = None) -> Attempt:
        """Make the try of a seed within the limits; `tell` is called with what is being done."""
        attempt = Attempt(self.name, seed, tell=tell)
        self.canary.forget()
        started = time.monotonic()
        try:
            with limited(self.seconds, self.megabytes):
                attempt.end = self.attempt(random.Random(f"{self.name}-{seed}"), attempt)
        except _TookTooLong:
            attempt.failure = f"took more than {self.seconds:g} s"
        except Failure as error:
            attempt.failure = str(error)
        except Exception as error:
            attempt.failure = f"{type(error).__name__} instead of a clear error: {error}{_origin(error)}"
        if attempt.failure is None and (opened := self.canary.opened()):
            attempt.failure = f"opened files outside: {', '.join(opened)}"
        attempt.seconds, attempt.tell = time.monotonic() - started, None
        return attempt


class Canary:
    """Files that nobody may open, watched by the kernel: whichever library or process opens one is seen.

    Args:
        folder: receives the files.
        files: name -> content.
    """

    _OPEN, _MODIFY, _CREATE = 0x20, 0x2, 0x100
    _EVENT = struct.Struct("iIII")  # of inotify: watch, mask, cookie, length of the name that follows

    def __init__(self, folder: Path, files: Mapping[str, bytes]):
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        self.folder, self.paths = folder, [folder / name for name in files]
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._file)

    def watch(self, folder: Path) -> None:
        """See to the files of another folder too."""
        events = self._OPEN | self._MODIFY | self._CREATE
        if self._libc.inotify_add_watch(self._file, os.fsencode(folder), events) < 0:
            raise OSError(ctypes.get_errno(), f"{folder} cannot be watched")

    def opened(self) -> list[str]:
        """The names of files that were opened or made since the last call, sorted; the folder itself is "."."""
        names = set()
        with suppress(BlockingIOError):
            while events := os.read(self._file, 1 << 16):
                at = 0
                while at < len(events):
                    *_, length = self._EVENT.unpack_from(events, at)
                    at += self._EVENT.size
                    names.add(os.fsdecode(events[at : at + length].rstrip(b"\0")) or ".")
                    at += length
        return sorted(names)

    forget = opened


@contextmanager
def limited(seconds: float, megabytes: int) -> Iterator[None]:
    """Stop the block after so many seconds, and fail it when this process grew by more than so much memory."""

    def stop(number: int, frame: object) -> None:
        raise _TookTooLong

    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    # What is asked for at once and would end the process fails instead.
    room = 1024 * _status("VmSize") + 6 * megabytes * MB
    resource.setrlimit(resource.RLIMIT_AS, (room if limits[1] < 0 else min(room, limits[1]), limits[1]))
    handler = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again each second, in case the first one was swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    grown = 1024 * (_status("VmHWM") - before) / MB
    if grown > megabytes:
        raise Failure(f"took {grown:,.0f} MB of memory")


def _status(name: str) -> int:
    """A figure of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _origin(error: Exception) -> str:
    """Where in the package an exception came from, as far as it did."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/cmr_hub/" in frame.filename] or frames
    return f" ({'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno})" if own else ""


def as_json(attempt: Attempt) -> dict[str, Any]:
    """What the campaign's file keeps of a try."""
    return {name: value for name, value in vars(attempt).items() if name != "tell"}
