"""Preparing things in the background: one at a time, by the same command that a person would type."""

from __future__ import annotations

import atexit
import json
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

from cmr_hub.data import info
from cmr_hub.errors import CMRError, DatasetError

logger = logging.getLogger(__name__)

What = TypeVar("What", bound=Hashable)
State = Literal["waiting", "running", "done", "failed", "stopped"]
PREPARED_WHEN_HOSTED = ("pascal", "wiki")
GRACE = 10.0  # seconds that a stopped command has before it is killed


@dataclass(frozen=True)
class Progress:
    """How far one preparation is.

    Attributes:
        state: "waiting" for its turn, "running", or how it ended.
        fraction: share of the whole that is done, in [0, 1].
        message: what is being done, or what went wrong.
    """

    state: State
    fraction: float = 0.0
    message: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it is not over yet."""
        return self.state in ("waiting", "running")

    @property
    def percent(self) -> int:
        """The share that is done, in whole percent."""
        return round(100 * self.fraction)


def training_command(name: str) -> list[str]:
    """The command that prepares a data set and tells its progress as one JSON object a line."""
    return [sys.executable, "-m", "cmr_hub.cli", "prepare", name, "--progress", "json"]


def names_to_prepare(
    hosted: Iterable[str] = PREPARED_WHEN_HOSTED, environ: Mapping[str, str] = os.environ
) -> list[str]:
    """The galleries to prepare at start, without being asked.

    `CMR_HUB_PREPARE` names them, parted by commas ("0" for none). Where it is not set, a hosted Space takes `hosted`
    and any other machine none.

    Raises:
        UnknownNameError: `CMR_HUB_PREPARE` names a data set that does not exist.

    Example:
    ```python
    >>> from cmr_hub.space.services.preparation import names_to_prepare
    >>> names_to_prepare(["wiki"], {"SPACE_ID": "me/space"}), names_to_prepare(["wiki"], {})
    (['wiki'], [])
    ```
    """
    wish = environ.get("CMR_HUB_PREPARE")
    if wish is None:
        return list(hosted) if environ.get("SPACE_ID") else []
    names = [name.strip() for name in wish.split(",") if name.strip() not in ("", "0")]
    return [info(name).name for name in names]


class Preparations(Generic[What]):
    """What is being prepared, has been, or waits for its turn. Safe to share between threads and browser sessions.

    Args:
        command: what is to be prepared, such as the name of a data set -> the command line that does it, such as
            [`training_command`].
        on_done: called each time something has become ready.

    Attributes:
        version: grows with every change, so that a page can tell whether there is anything new to show.
    """

    def __init__(
        self,
        command: Callable[[What], list[str]],
        on_done: Callable[[], None] = lambda: None,
    ):
        self.version = 0
        self._command, self._on_done = command, on_done
        self._progress: dict[What, Progress] = {}
        self._waiting: deque[What] = deque()
        self._process: subprocess.Popen[str] | None = None
        self._changed = threading.Condition()
        self._worker: threading.Thread | None = None
        atexit.register(self.close)

    def __getitem__(self, what: What) -> Progress | None:
        """How far it is; None where nobody has asked for it."""
        return self._progress.get(what)

    def start(self, *wanted: What) -> None:
        """Prepare these, in this order, after those that were asked for before. Asking twice does no harm."""
        with self._changed:
            for what in wanted:
                if not self._is_active(what):
                    self._waiting.append(what)
                    self._set(what, Progress("waiting", message="Waiting for its turn"))
            if self._waiting and self._worker is None:
                self._worker = threading.Thread(target=self._work, name="preparations", daemon=True)
                self._worker.start()

    def stop(self, what: What) -> None:
        """Stop preparing one. What is done stays done: a later `start` goes on from there."""
        with self._changed:
            progress = self[what]
            if progress is None or not progress.is_active:
                return
            self._set(what, replace(progress, state="stopped", message="Stopped. What is done is kept."))
            if what in self._waiting:
                self._waiting.remove(what)
            elif self._process is not None:
                self._process.terminate()
                killer = threading.Timer(GRACE, self._process.kill)
                killer.daemon = True
                killer.start()

    def wait(self, what: What, timeout: float | None = None) -> Progress | None:
        """Block until a preparation is over, or `timeout` seconds have passed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_active(what), timeout)
            return self[what]

    def close(self) -> None:
        """Stop everything, without waiting."""
        with self._changed:
            self._waiting.clear()
            if self._process is not None:
                self._process.terminate()

    def _is_active(self, what: What) -> bool:
        progress = self[what]
        return progress is not None and progress.is_active

    def _set(self, what: What, progress: Progress) -> None:
        with self._changed:
            self._progress[what] = progress
            self.version += 1
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._worker = None
                    return
                what = self._waiting.popleft()
                self._set(what, Progress("running", message="Starting"))
                try:
                    self._process = self._open(what)
                except OSError as error:
                    self._set(what, Progress("failed", message=f"The command cannot be started: {error}."))
                    continue
            self._follow(what, self._process)
            self._process = None

    def _open(self, what: What) -> subprocess.Popen[str]:
        # The command is found beside this package, wherever the Space was started from.
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        return subprocess.Popen(
            self._command(what),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": path},
        )

    def _follow(self, what: What, process: subprocess.Popen[str]) -> None:
        """Read the command's output to its end; the last stage that it names decides how it ended."""
        last, stage = "", ""
        assert process.stdout is not None  # it is a pipe
        with process.stdout as lines:
            for line in lines:
                report = parse_report(line)
                if report is None:
                    last = line.strip() or last
                    logger.info("%s: %s", what, line.rstrip())
                    continue
                stage, last = report["stage"], report.get("message", "")
                fraction = min(max(float(report.get("fraction", self._progress[what].fraction)), 0.0), 1.0)
                with self._changed:
                    if self._progress[what].state == "running":
                        self._set(what, Progress("running", fraction, last))
        code = process.wait()
        with self._changed:
            if self._progress[what].state != "running":
                return
            try:
                if code != 0 or stage != "done":
                    raise DatasetError(last or f"The command ended with status {code} and without a word.")
                self._on_done()
                self._set(what, Progress("done", 1.0, last))
            except CMRError as error:
                self._set(what, replace(self._progress[what], state="failed", message=str(error)))
                logger.warning("Preparing %s failed: %s", what, error)


def parse_report(line: str) -> dict | None:
    """The JSON object in a line of the command's output; None where the line is something else.

    Example:
    ```python
    >>> from cmr_hub.space.services.preparation import parse_report
    >>> parse_report('{"stage": "train", "fraction": 0.5, "message": "Training"}')["fraction"]
    0.5
    >>> parse_report("Epoch 3 of 10") is None
    True
    ```
    """
    try:
        report = json.loads(line)
    except json.JSONDecodeError:
        return None
    return report if isinstance(report, dict) and isinstance(report.get("stage"), str) else None
