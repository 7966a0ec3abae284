"""Hamming search beside raw faiss: `python benchmarks/hamming.py [--items 1000000] [--bits 64 128] [--json FILE]`.

Random codes, one query at a time, the ten nearest; calls of both take turns, and medians are compared. Memory is what
Python's allocator holds for the codes and their index at the peak of a search, over the number of items.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import report
from cmr_hub.indexes.hamming import HammingIndex

TARGET_RATIO = 1.05
TARGET_MEMORY = 1.1  # of the bare codes
K = 10


def random_codes(items: int, bits: int, seed: int) -> np.ndarray:
    """`(items, bits // 8)` uint8."""
    return np.random.default_rng(seed).integers(0, 256, (items, bits // 8), dtype=np.uint8)


def milliseconds(function: Callable[[], Any]) -> float:
    """Of one call."""
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


def peak_bytes(items: int, bits: int) -> int:
    """Of codes, index and a search."""
    gc.collect()
    tracemalloc.start()
    index = HammingIndex(random_codes(items, bits, seed=0))
    tracemalloc.reset_peak()
    index.search(random_codes(1, bits, seed=1), K)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measure(items: int, bits: int, queries: int) -> dict[str, Any]:
    """One row of the table."""
    codes, asked = random_codes(items, bits, seed=0), random_codes(queries, bits, seed=1)
    ours, raw = HammingIndex(codes), faiss.IndexBinaryFlat(bits)
    raw.use_heap = False  # the faster way, and the one that keeps equal distances in the rows' order
    raw.add(codes)
    for query in asked[:3]:  # both find the same
        cosines, rows = ours.search(query[None], K)
        distances, expected = raw.search(query[None], K)
        assert (ours.distances(cosines) == distances).all()
        assert (rows == expected).all()
    times: dict[str, list[float]] = {"ours": [], "faiss": []}
    for query in asked:
        times["ours"].append(milliseconds(lambda query=query: ours.search(query[None], K)))
        times["faiss"].append(milliseconds(lambda query=query: raw.search(query[None], K)))
    ours_ms, faiss_ms = (statistics.median(times[name]) for name in ("ours", "faiss"))
    return {
        "items": items,
        "bits": bits,
        "ours, ms": ours_ms,
        "faiss IndexBinaryFlat, ms": faiss_ms,
        "ratio": ours_ms / faiss_ms,
        "asked": TARGET_RATIO,
        "bytes an item": peak_bytes(items, bits) / items,
        "asked, bytes": TARGET_MEMORY * bits / 8,
    }


def main() -> None:
    """Parse arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report([measure(options.items, bits, options.queries) for bits in options.bits], options.json)


if __name__ == "__main__":
    main()
