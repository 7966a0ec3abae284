"""The Space as a process of its own on loopback, and what it writes to its log."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx2

from attempts import Failure
from reverse_proxy import free_port

APP = Path(__file__).resolve().parents[2] / "space_app.py"
PATIENCE = 120.0
PAUSE = 0.1


class SpaceServer:
    """A running `python space_app.py`.

    Args:
        folder: receives uploads, caches and the log.

    Attributes:
        url: where it is.
        uploads: where it keeps what is uploaded.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True)
        self.url, self.uploads = f"http://127.0.0.1:{(port := free_port())}", folder / "uploads"
        self._log = folder / "log.txt"
        own = {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "PYTHONUNBUFFERED": "1"}
        own |= {"GRADIO_TEMP_DIR": str(self.uploads), "CMR_HUB_CACHE": str(folder / "cache"), "CMR_HUB_PREPARE": "0"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(APP)], env={**os.environ, **own}, stdout=log, stderr=subprocess.STDOUT
            )
        self._read = 0

    def __enter__(self) -> Self:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                httpx2.get(self.url, timeout=PATIENCE).raise_for_status()
                return self
            except httpx2.TransportError:
                time.sleep(PAUSE)
        self.__exit__()
        raise Failure(f"the Space did not start in {PATIENCE:.0f} s: {self._log.read_text()[-500:]}")

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def check_alive(self) -> None:
        """Refuse a server that has ended."""
        if self._process.poll() is not None:
            raise Failure(f"the Space ended ({self._process.returncode}): {self._log.read_text()[-500:]}")

    def new_log(self) -> str:
        """What it has written since the last call."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        self._read += len(content)
        return content.decode(errors="replace")

    def memory(self) -> int:
        """Resident bytes."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
