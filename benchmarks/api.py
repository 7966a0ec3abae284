"""How fast `cmr serve --api` answers many clients at once: `python benchmarks/api.py --gallery DIR`.

Clients send queries one after another, each waiting for its answer before it sends the next: words (7 of 10), items
of the gallery (2 of 10) and images of the gallery as files (1 of 10). The server is a process of its own on the same
machine, and so are the clients. Told are the seconds of requests and how many failed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import report

TARGET = 0.5  # seconds of the slowest of 20 requests
KINDS = ("text", "item", "image")
SHARES = (0.7, 0.2, 0.1)


@contextmanager
def served(gallery: Path) -> Iterator[str]:
    """The address of a server of a gallery."""
    words = [sys.executable, "-m", "cmr_hub.cli", "serve", "--api", "--gallery", str(gallery), "--port", "0"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stderr is not None
    try:
        yield next(match[1] for line in process.stderr if (match := re.search(r"running on (http://\S+)", line)))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def queries(url: str, count: int, captions: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Requests of all kinds, mixed; the kind of each, and its body."""
    generator = np.random.default_rng(0)
    gallery = httpx.get(f"{url}/galleries").json()[0]
    items = [hit["id"] for hit in search(url, text=captions[0], k=200)["hits"]]
    images = [
        base64.b64encode(httpx.get(f"{url}/galleries/{gallery['name']}/items/{item}/image").content).decode()
        for item in items[:20]
    ]
    values = {"text": captions, "item": items, "image": images}
    return [
        (kind, {kind: values[kind][generator.integers(len(values[kind]))], "k": 10})
        for kind in generator.choice(KINDS, count, p=SHARES).tolist()
    ]


def search(url: str, **request: Any) -> Any:
    """The answer to one request."""
    answer = httpx.post(f"{url}/search", json=request, timeout=60)
    answer.raise_for_status()
    return answer.json()


async def ask_all(url: str, requests: list[tuple[str, dict[str, Any]]], clients: int) -> list[tuple[str, float, int]]:
    """Kind, seconds and status of each request."""
    waiting = iter(requests)
    measured = []

    async def client() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as connection:
            for kind, request in waiting:
                started = time.perf_counter()
                try:
                    status = (await connection.post("/search", json=request)).status_code
                except httpx.TransportError:
                    status = 0
                measured.append((kind, time.perf_counter() - started, status))

    await asyncio.gather(*(client() for _ in range(clients)))
    return measured


def main() -> None:
    """Parse arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=Path, required=True, help="folder of a saved gallery with images")
    parser.add_argument("--texts", type=Path, required=True, help="file of one query per line; the last column counts")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    captions = [line.split("\t")[-1][:500] for line in options.texts.read_text(encoding="utf-8").splitlines()]
    with served(options.gallery) as url:
        requests = queries(url, options.count, captions)
        asyncio.run(ask_all(url, requests[:100], options.clients))  # networks are there when the time starts
        started = time.perf_counter()
        measured = asyncio.run(ask_all(url, requests, options.clients))
        seconds = time.perf_counter() - started
    rows = []
    for kind in ("all", *KINDS):
        took = [each for of, each, _ in measured if kind in ("all", of)]
        p50, p95 = np.quantile(took, [0.5, 0.95])
        failed = sum(status != 200 for of, _, status in measured if kind in ("all", of))
        rows.append(
            {"query": kind, "requests": len(took), "failed": failed, "p50 s": p50, "p95 s": p95, "max s": max(took)}
        )
    report(rows, options.json)
    print(
        f"{options.clients} clients, {len(measured) / seconds:.0f} requests/s, mean {statistics.fmean(took):.3f} s; "
        f"p95 {rows[0]['p95 s']:.2f} s, target {TARGET}: {'met' if rows[0]['p95 s'] < TARGET else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
