"""The Space under many visitors: `python benchmarks/space_load.py [--clients 50] [--queries 2000] [--more 10000]`.

So many clients ask at once, each its next question when the last is answered: words, items of the gallery and
images, drawn at random; no answer is kept on the way. Then the server's memory is compared before and after many
more questions. The server is a fresh `python space_app.py` on this machine, whose cores the clients share.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import report
from benchmarks.space_start import PATIENCE, running_space
from cmr_hub.data import load_dataset

KINDS = ("text", "text", "item", "text", "item", "image")  # asked in turn: half words, a third items, a sixth images
ENDPOINTS = {"text": "search_text", "item": "search_item", "image": "search_image"}


@dataclass(frozen=True)
class Question:
    """What a client asks: words, an item's id with its target, or a PNG."""

    kind: str
    value: str | bytes
    target: str


def questions(seed: int) -> Iterator[Question]:
    """Endless questions of the embedded gallery, drawn at random."""
    random = np.random.default_rng(seed)
    split = load_dataset("emoji")["test"]
    words = sorted({word for texts in split["texts"] for text in texts for word in text.split() if word.isalpha()})
    ids = split["id"][:]
    for kind in itertools.cycle(KINDS):
        target = str(random.choice(["image", "text"]))
        if kind == "text":
            yield Question(kind, " ".join(random.choice(words, size=3)), target)
        elif kind == "item":
            yield Question(kind, str(random.choice(ids)), target)
        else:
            pixels = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).resize((320, 240), Image.Resampling.BICUBIC).save(file, "PNG")
            yield Question(kind, file.getvalue(), target)


async def ask(client: httpx2.AsyncClient, session: str, question: Question) -> None:
    """One question by the API, in a session of the client as `gradio_client` has it; an upload is part of it."""
    if question.kind == "image":
        upload = await client.post("/gradio_api/upload", files={"files": ("query.png", question.value)})
        image = {"path": upload.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}}
        data = [image, "", "", question.target, 10, "", None]
    elif question.kind == "item":
        data = [question.value, "", "", question.target, "", 10, "", None]
    else:
        data = [question.value, "", "", question.target, 10, "", None]
    address = f"/gradio_api/call/{ENDPOINTS[question.kind]}"
    call = await client.post(address, json={"data": data, "session_hash": session})
    answer = await client.get(f"{address}/{call.raise_for_status().json()['event_id']}")
    lines = answer.raise_for_status().text.splitlines()
    if "event: complete" not in lines:
        raise RuntimeError(answer.text)
    hits = json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))[0]
    if len(hits) != 10:
        raise RuntimeError(f"{len(hits)} hits instead of 10 for {question}")


async def crowd(address: str, clients: int, asked: list[Question]) -> dict[str, list[float]]:
    """Seconds that each question took, by its kind; "failed" has those that were not answered."""
    seconds: dict[str, list[float]] = {kind: [] for kind in (*ENDPOINTS, "failed")}
    waiting = iter(asked)

    async def visitor(session: str) -> None:
        async with httpx2.AsyncClient(base_url=address, timeout=PATIENCE) as client:
            for question in waiting:
                started = time.perf_counter()
                kind = question.kind
                try:
                    await ask(client, session, question)
                except (httpx2.HTTPError, RuntimeError) as error:
                    print(f"failed: {error!r:.300}", file=sys.stderr)
                    kind = "failed"
                seconds[kind].append(time.perf_counter() - started)

    await asyncio.gather(*(visitor(f"client-{number}") for number in range(clients)))
    return seconds


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time that a process has used; a machine that others share changes it little."""
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--more", type=int, default=10_000, help="queries between the two looks at the memory")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    rows = []
    with running_space() as (address, server):
        process, source = psutil.Process(server.pid), questions(seed=0)
        asyncio.run(crowd(address, options.clients, list(itertools.islice(source, options.clients))))  # warm
        for count in (options.queries, options.more):
            if not count:
                continue
            asked = list(itertools.islice(source, count))
            before, spent, started = process.memory_info().rss, cpu_seconds(process), time.perf_counter()
            seconds = asyncio.run(crowd(address, options.clients, asked))
            elapsed, after = time.perf_counter() - started, process.memory_info().rss
            seconds["all"] = list(itertools.chain.from_iterable(seconds[kind] for kind in ENDPOINTS))
            for kind in (*ENDPOINTS, "all"):
                taken = seconds[kind]
                rows.append(
                    {
                        "queries": f"{kind} of {count:,}",
                        "answered": len(taken),
                        "median s": float(np.median(taken)),
                        "p95 s": float(np.quantile(taken, 0.95)),
                        "slowest s": max(taken),
                    }
                )
            rows[-1] |= {
                "failed": len(seconds["failed"]),
                "a second": count / elapsed,
                "server CPU ms a query": 1000 * (cpu_seconds(process) - spent) / count,
                "MB before": before / 1e6,
                "MB after": after / 1e6,
            }
    report(rows, options.json)


if __name__ == "__main__":
    main()
