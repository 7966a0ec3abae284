"""Memory of the Space under hostile images: `python benchmarks/server_memory.py [--requests 3000] [--clients 16]`.

Texts, items, small images and images that were made to take memory are asked in turn, by so many clients at once, of
a fresh `python space_app.py`. The table says how requests of each kind ended and the most memory that the server
took. A server that takes more than `--most-gb` is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import report
from benchmarks.space_load import Question, ask, questions
from benchmarks.space_start import PATIENCE, running_space

SIDE = 8000  # 64 megapixels, as many as are taken
GB = 1e9
FIRST = 6  # of the same image, at once: before anything else
GREY, RGB, RGBA = 0, 2, 6  # PNG's colour types


def png(width: int, height: int, kind: int, depth: int = 8, rows: int | None = None) -> bytes:
    """A PNG of one colour, written row by row, so that it takes no memory here. With `rows` it lacks the others."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    row = bytes(1 + width * {GREY: 1, RGB: 3, RGBA: 4}[kind] * depth // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image as a file of some kind."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiled_tiff(side: int, tile: int) -> bytes:
    """A small grey TIFF whose single tile is large."""
    data = zlib.compress(bytes(tile * tile))
    tags = [(256, side), (257, side), (258, 8), (259, 8), (262, 1), (277, 1), (322, tile), (323, tile)]
    tags += [(324, 8), (325, len(data))]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory + bytes(4)


def hostile_images() -> dict[str, bytes]:
    """Name -> file, of images that are small as files and large in memory, or damaged."""
    frames = [Image.effect_noise((200, 200), 50 + i).convert("P") for i in range(300)]
    page = Image.new("L", (64, 64))
    large = Image.new("RGB", (SIDE, SIDE), "teal")
    jpeg = saved(large, "JPEG", quality=20)
    files = {
        "PNG, RGBA": png(SIDE, SIDE, RGBA),
        "PNG, RGBA, one row": png(SIDE * SIDE, 1, RGBA),
        "PNG, 16-bit grey": png(SIDE, SIDE, GREY, 16),
        "PNG, half of its rows": png(SIDE, SIDE, RGBA, rows=SIDE // 2),
        "PNG, 3,600 megapixels": png(60_000, 60_000, RGBA, rows=1),
        "PNG, 100 megapixels": png(10_000, 10_000, RGB),
        "JPEG": jpeg,
        "JPEG, truncated": jpeg[: len(jpeg) // 2],
        "GIF, 300 frames": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "GIF": saved(Image.new("P", (SIDE, SIDE), 7), "GIF"),
        "WebP, 20 frames": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:20]),
        "TIFF, 300 pages": saved(page, "TIFF", save_all=True, append_images=[page] * 299),
        "TIFF, one strip": saved(large, "TIFF", compression="tiff_deflate", strip_size=1 << 30),
        "TIFF, one tile of 900 megapixels": tiled_tiff(100, 30_000),
        "WebP": saved(large, "WEBP", quality=10, method=0),
    }
    large = large.convert("CMYK")
    files["JPEG, CMYK, progressive"] = saved(large, "JPEG", quality=20, progressive=True)
    return files


def mixed(images: Mapping[str, bytes], share: int) -> Iterator[tuple[str, Question]]:
    """Endless questions with what they are called; one in `share` is a hostile image."""
    harmless, names = questions(seed=0), itertools.cycle(images)
    for number in itertools.count(1):
        if number % share:
            question = next(harmless)
            yield question.kind, question
        else:
            name = next(names)
            yield name, Question("image", images[name], "text")


class Watch(threading.Thread):
    """Looks at a process's memory until it ends, and stops it when it takes too much.

    Attributes:
        most: bytes, the most that it took.
        now: bytes that it takes.
    """

    def __init__(self, pid: int, limit: float):
        super().__init__(daemon=True)
        self.process, self.limit, self.most, self.now = psutil.Process(pid), limit, 0, 0

    def run(self) -> None:
        while True:
            try:
                self.now = self.process.memory_info().rss
            except psutil.Error:
                return
            self.most = max(self.most, self.now)
            if self.now > self.limit:
                print(f"stopped: {self.now / GB:.1f} GB", file=sys.stderr)
                self.process.kill()
                return
            time.sleep(0.05)


async def crowd(address: str, clients: int, asked: list[tuple[str, Question]]) -> tuple[Counter, dict[str, float]]:
    """How many questions of each name were answered, refused or lost; and the longest wait, by name."""
    ends: Counter = Counter()
    slowest: dict[str, float] = {}
    waiting = iter(asked)

    async def visitor(session: str) -> None:
        async with httpx2.AsyncClient(base_url=address, timeout=PATIENCE) as client:
            for name, question in waiting:
                started = time.perf_counter()
                try:
                    await ask(client, session, question)
                    ends[name, "answered"] += 1
                except RuntimeError:  # the server says why not
                    ends[name, "refused"] += 1
                except httpx2.HTTPError as error:
                    print(f"lost: {name}: {error!r:.200}", file=sys.stderr)
                    ends[name, "lost"] += 1
                slowest[name] = max(slowest.get(name, 0.0), time.perf_counter() - started)

    await asyncio.gather(*(visitor(f"client-{number}") for number in range(clients)))
    return ends, slowest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--share", type=int, default=12, help="one request in so many is a hostile image")
    parser.add_argument("--most-gb", type=float, default=6.0, help="stop a server that takes more")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    images = hostile_images()
    for name, content in images.items():
        print(f"{name}: {len(content):,} bytes", file=sys.stderr)
    source = mixed(images, options.share)
    rows = []
    with running_space() as (address, server):
        watch = Watch(server.pid, options.most_gb * GB)
        watch.start()
        bomb = ("PNG, RGBA", Question("image", images["PNG, RGBA"], "text"))
        warm = [("text", Question("text", "smiling cat", "image")), *itertools.islice(source, 10)]
        for title, clients, asked in (
            ("warm up", 1, warm),
            (f"{FIRST} RGBA PNGs at once", FIRST, [bomb] * FIRST),
            (f"{options.requests:,} mixed", options.clients, list(itertools.islice(source, options.requests))),
        ):
            started, watch.most = time.perf_counter(), 0
            ends, slowest = asyncio.run(crowd(address, clients, asked))
            elapsed = time.perf_counter() - started
            time.sleep(1)
            for name in dict.fromkeys(name for name, _ in asked):
                counts = {end: ends[name, end] for end in ("answered", "refused", "lost")}
                rows.append({"requests": f"{title}: {name}", **counts, "slowest s": slowest[name]})
            total = {end: sum(ends[name, end] for name in slowest) for end in ("answered", "refused", "lost")}
            rows.append(
                {
                    "requests": title,
                    **total,
                    "slowest s": max(slowest.values()),
                    "seconds": elapsed,
                    "most GB": watch.most / GB,
                    "GB after": watch.now / GB,
                }
            )
            if server.poll() is not None:
                break
    report([{column: row.get(column, "") for column in rows[-1]} for row in rows], options.json)
    if any(isinstance(most := row.get("most GB"), float) and most > 3 for row in rows):
        raise SystemExit("The server took more than 3 GB.")


if __name__ == "__main__":
    main()
