"""A gallery that is on a Milvus server alone: `python benchmarks/remote_gallery.py [--items 1000000]`.

A server of the package `milvus` is started on this machine and filled with random vectors as those of a checkpoint.
Then a process of its own connects, searches by words, and tells the seconds of a query and the most memory it took.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cmr_hub
from benchmarks.common import report

TARGET = 1000  # MB of the process that searches
BLOCK = 50_000
QUERIES = ["a red flag", "a smiling face", "two people", "a dog", "a house by the sea"]


class Described:
    """Made-up metadata of a block of items."""

    def __init__(self, first: int, count: int):
        self.first, self.count = first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: slice) -> list[dict[str, Any]]:
        numbers = [self.first + row for row in range(*rows.indices(self.count))]
        return [{"id": f"item-{n}", "labels": [f"class {n % 20}"], "text": f"text {n}"} for n in numbers]


def fill(address: str, checkpoint: str, items: int) -> float:
    """Send random vectors of a checkpoint's width; how many seconds that took."""
    from cmr_hub.indexes.milvus import MilvusIndex

    width = cmr_hub.from_pretrained(checkpoint).encode_texts([]).shape[1]
    index = MilvusIndex(np.empty((0, width), np.float32), collection="remote_image", address=address, timeout=600)
    generator = np.random.default_rng(0)
    started = time.perf_counter()
    for first in tqdm(range(0, items, BLOCK), desc="items, in blocks"):
        count = min(BLOCK, items - first)
        vectors = generator.normal(size=(count, width)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        index.put(vectors, np.arange(first, first + count), Described(first, count))
    return time.perf_counter() - started


def search(address: str, checkpoint: str, rounds: int) -> dict[str, Any]:
    """What a process that does nothing else takes to search."""
    started = time.perf_counter()
    gallery = cmr_hub.Gallery.connect("remote", cmr_hub.from_pretrained(checkpoint), address=address, timeout=600)
    gallery.search(text=QUERIES[0])
    ready = time.perf_counter() - started
    seconds = []
    for _ in range(rounds):
        for query in QUERIES:
            started = time.perf_counter()
            hits = gallery.search(text=query, k=10)
            seconds.append(time.perf_counter() - started)
            assert len(hits) == 10
    return {
        "items": len(gallery),
        "s to the first answer": ready,
        "ms per query": 1000 * statistics.median(seconds),
        "MB at most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Parse arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--checkpoint", default="cmr/cca-emoji", help="that takes words")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--address", help="of a server that is filled already; search it alone, and print JSON")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.address:
        print(json.dumps(search(options.address, options.checkpoint, options.rounds)))
        return
    from cmr_hub.indexes.milvus.server import local_address, stop_local_servers

    with tempfile.TemporaryDirectory() as folder:
        address = local_address(Path(folder) / "server")
        filled = fill(address, options.checkpoint, options.items)
        words = [sys.executable, __file__, "--address", address, "--checkpoint", options.checkpoint]
        done = subprocess.run([*words, "--rounds", str(options.rounds)], capture_output=True, text=True, check=True)
        row = {**json.loads(done.stdout.splitlines()[-1]), "s to fill": filled}
        stop_local_servers()
    report([row], options.json)
    print(f"memory: {row['MB at most']:.0f} MB; target {TARGET}: {'met' if row['MB at most'] < TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
