"""Exact search beside a bare matrix product, inverted lists beside exact search: `python benchmarks/indexes.py`.

A million vectors of 128 dimensions (`benchmarks/clusters.py`), the ten nearest. What is compared takes turns on the
same queries, and medians are compared. The bare way is `queries @ vectors.T`, `argpartition` and a sort of the ten.
How many lists are looked at (`nprobe`) is chosen on queries of its own: the fewest with a recall@10 of .96. Memory is
what Python's allocator holds for vectors and index at the peak of a search, over the vectors' own bytes.

    OMP_NUM_THREADS=1 python benchmarks/indexes.py [--items 1000000] [--width 128] [--json FILE]
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clusters import clustered
from benchmarks.common import report
from cmr_hub.indexes.exact import ExactIndex
from cmr_hub.indexes.faiss import FaissIndex

K = 10
BATCH = 32
SEEDS = {"items": 1, "validation": 2, "queries": 3}
WANTED_RECALL = 0.96  # on validation queries; asked are .95 on others
TARGETS = {"exact": 1.15, "faiss": 0.1, "memory": 1.05, "recall": 0.95}


def by_product(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The bare way: rows of the ten nearest."""
    scores = queries @ vectors.T
    some = np.argpartition(scores, scores.shape[1] - K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1)
    return np.take_along_axis(some, order, axis=1)


def in_turns(ways: Mapping[str, Callable[[np.ndarray], Any]], batches: Sequence[np.ndarray]) -> dict[str, float]:
    """Median milliseconds a query of each way; one after another on each batch."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for batch in batches:
        for name, way in ways.items():
            start = time.perf_counter()
            way(batch)
            times[name].append(1e3 * (time.perf_counter() - start) / len(batch))
    return {name: statistics.median(some) for name, some in times.items()}


def recall(found: np.ndarray, true: np.ndarray) -> float:
    """The share of the true ten that was found."""
    return float(np.mean([np.isin(some, all_).mean() for some, all_ in zip(true, found, strict=True)]))


def choose_nprobe(index: FaissIndex, queries: np.ndarray, true: np.ndarray) -> int:
    """The fewest lists, a power of two, that find enough."""
    nprobe = 1
    while True:
        index.widen(nprobe=nprobe)
        if recall(index.search(queries, K)[1], true) >= WANTED_RECALL:
            return nprobe
        nprobe *= 2


def peak_share(items: int, width: int, dtype: str) -> float:
    """Bytes at the peak of a search of one query over those of the vectors alone, as they are stored."""
    gc.collect()
    tracemalloc.start()
    index = ExactIndex(clustered(items, width, SEEDS["items"]), dtype=dtype)
    gc.collect()
    tracemalloc.reset_peak()
    index.search(clustered(1, width, SEEDS["queries"]), K)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / index.vectors.nbytes


def compare(items: int, width: int, count: int) -> list[dict[str, Any]]:
    """The rows of the table: every way, one query at a time and in batches."""
    vectors = clustered(items, width, SEEDS["items"])
    queries, validation = (clustered(count, width, SEEDS[name]) for name in ("queries", "validation"))
    exact, halves = ExactIndex(vectors), ExactIndex(vectors, dtype="float16")
    lists = FaissIndex(vectors)
    nprobe = choose_nprobe(lists, validation, exact.search(validation, K)[1])
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "product and partition": lambda batch: by_product(vectors, batch),
        "exact": lambda batch: exact.search(batch, K)[1],
        "exact, float16": lambda batch: halves.search(batch, K)[1],
        f"faiss, nprobe {nprobe}": lambda batch: lists.search(batch, K)[1],
    }
    batches = {size: [queries[first : first + size] for first in range(0, count, size)] for size in (1, BATCH)}
    true = exact.search(queries, K)[1]
    recalls = {
        name: recall(np.concatenate([way(some) for some in batches[BATCH]]), true) for name, way in ways.items()
    }
    rows = []
    for size in (1, BATCH):
        times = in_turns(ways, batches[size])
        rows += [
            {
                "at once": size,
                "way": name,
                "ms a query": milliseconds,
                "of product and partition": milliseconds / times["product and partition"],
                "of exact": milliseconds / times["exact"],
                "recall@10": recalls[name],
            }
            for name, milliseconds in times.items()
        ]
    return rows


def main() -> None:
    """Parse arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--queries", type=int, default=192, help="to measure with, and as many to choose nprobe by")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = compare(options.items, options.width, options.queries)
    report(rows, options.json)
    shares = {dtype: peak_share(options.items, options.width, dtype) for dtype in ("float32", "float16")}
    print("memory, of the vectors:", ", ".join(f"{dtype} {share:.3f}" for dtype, share in shares.items()))
    print("asked:", ", ".join(f"{name} {target}" for name, target in TARGETS.items()))


if __name__ == "__main__":
    main()
