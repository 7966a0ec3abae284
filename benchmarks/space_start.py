"""Seconds from start to the first answer of the Space: `python benchmarks/space_start.py [--runs 3] [--json FILE]`.

Each run is a fresh `python space_app.py`. The first one of a fresh machine reads everything from disk; later ones find
it in the system's cache.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import report

APP = Path(__file__).resolve().parents[1] / "space_app.py"
PATIENCE = 300.0
PAUSE = 0.05


def measure(app: Path, query: str) -> dict[str, Any]:
    """One start: when the page can be had, and when the query has been answered."""
    started, spent = time.perf_counter(), children_cpu()
    with running_space(app) as (address, _), httpx2.Client(base_url=address, timeout=PATIENCE) as client:
        paged = time.perf_counter() - started
        call = client.post("/gradio_api/call/search_text", json={"data": [query, "", "", "image", 5, "", None]})
        answer = client.get(f"/gradio_api/call/search_text/{call.raise_for_status().json()['event_id']}").text
        answered = time.perf_counter() - started
    if "event: complete" not in answer:
        raise SystemExit(f"The Space did not answer {query!r}: {answer}")
    return {"page up, s": paged, "first answer, s": answered, "CPU, s": children_cpu() - spent}


@contextmanager
def running_space(app: Path = APP) -> Iterator[tuple[str, subprocess.Popen]]:
    """A fresh `python space_app.py` whose page can be had: its address and its process."""
    port = free_port()
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    process = subprocess.Popen([sys.executable, str(app)], env=environment, stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: httpx2.get(address, timeout=PATIENCE), process).raise_for_status()
        yield address, process
    finally:
        process.terminate()
        process.wait()


def children_cpu() -> float:
    """Processor seconds of the processes that have ended so far; a busy machine changes them little."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(request: Callable[[], httpx2.Response], process: subprocess.Popen) -> httpx2.Response:
    """Repeat a request until there is a server that answers it."""
    deadline = time.perf_counter() + PATIENCE
    while process.poll() is None and time.perf_counter() < deadline:
        try:
            return request()
        except httpx2.ConnectError:
            time.sleep(PAUSE)
    raise SystemExit(f"The Space did not start (exit status {process.poll()}).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--app", type=Path, default=APP, help="the program to start")
    parser.add_argument("--query", default="smiling cat")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    args = parser.parse_args()
    report([{"run": run, **measure(args.app, args.query)} for run in range(1, args.runs + 1)], args.json)


if __name__ == "__main__":
    main()
