"""A Milvus collection that is killed as it is filled: `python benchmarks/milvus.py [--items 1000000] [--json FILE]`.

A server is started on this machine. A process fills a collection with random codes and gets SIGKILL once half of them
are there; the same is then called again. Counted and asserted: every id is there exactly once, and for random queries
each of the `k` distances is that of exact Hamming search, all items nearer than the k-th distance are the same, and
those at the k-th, of which Milvus chooses some, do have it. Time a query is the median of single ones.

Throughput, of as many codes in batches of the same size, by turns: this package's `add`, and a loop over pymilvus'
`upsert` of the same fields. Medians of the turns. Needs `milvus` (requirements-dev.txt).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus import MilvusClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import best_time, report
from cmr_hub.indexes.hamming import HammingIndex
from cmr_hub.indexes.milvus import MilvusIndex
from cmr_hub.indexes.milvus.ingest import BATCH_ROWS
from cmr_hub.indexes.milvus.server import local_address

ROOT = Path(__file__).resolve().parents[1]
FILL = """
import sys
import numpy as np
from cmr_hub.indexes.milvus import MilvusIndex
MilvusIndex(np.load(sys.argv[1], mmap_mode="r"), collection="killed", address=sys.argv[2])
"""
K = 10


def random_codes(items: int, bits: int, seed: int) -> np.ndarray:
    """`(items, bits // 8)` uint8."""
    return np.random.default_rng(seed).integers(0, 256, (items, bits // 8), dtype=np.uint8)


def count(client: MilvusClient) -> int:
    """How many rows the collection has, as the server counts them; 0 before it is ready."""
    try:
        return client.query("killed", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]
    except Exception:  # it does not exist, or is not loaded yet
        return 0


def fill_and_kill(path: Path, address: str, at: int) -> int:
    """Start filling, kill it when `at` items are there, and say how many were."""
    client = MilvusClient(address)
    process = subprocess.Popen(
        [sys.executable, "-c", FILL, path, address], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    while count(client) < at:
        if process.poll() is not None:
            raise SystemExit("It was filled before it could be killed: ask for more --items.")
        time.sleep(0.1)
    process.kill()
    process.wait()
    return count(client)


def assert_exact(index: MilvusIndex, codes: np.ndarray, queries: np.ndarray) -> None:
    """Every result is one of exact Hamming search."""
    cosines, ids = index.search(queries, K)
    expected, rows = HammingIndex(codes).search(queries, K)
    np.testing.assert_array_equal(cosines, expected)
    for cosine, found, row, query in zip(cosines, ids, rows, queries, strict=True):
        nearer = cosine > cosine[-1]
        assert set(found[nearer]) == set(row[nearer])
        distances = np.bitwise_count(codes[found] ^ query).sum(axis=1)
        np.testing.assert_allclose(1 - 2 * distances / (8 * codes.shape[1]), cosine)
        assert len(set(found)) == K


def throughputs(address: str, codes: np.ndarray, turns: int) -> tuple[float, float]:
    """Items a second of this package and of bare pymilvus; each turn both add one part of the codes."""
    client = MilvusClient(address)
    ours, raw = (MilvusIndex(codes[:0], collection=name, address=address) for name in ("ours", "raw"))
    seconds: dict[str, list[float]] = {"ours": [], "raw": []}

    def upsert(start: int, stop: int) -> None:
        for first in range(start, stop, BATCH_ROWS):
            rows = [
                {"key": i, "vector": codes[i].tobytes(), "id": str(i), "labels": [], "text": "", "image": ""}
                for i in range(first, min(first + BATCH_ROWS, stop))
            ]
            client.upsert("raw", rows)

    size = len(codes) // turns
    for turn in range(turns):
        start, stop = turn * size, (turn + 1) * size
        seconds["ours"].append(best_time(lambda start=start, stop=stop: ours.add(codes[start:stop])))
        seconds["raw"].append(best_time(lambda start=start, stop=stop: upsert(start, stop)))
    np.testing.assert_array_equal(ours.ids, np.arange(turns * size))
    raw.remove(raw.ids[:1])  # it sees what pymilvus wrote
    assert len(raw) == turns * size - 1
    return tuple(size / statistics.median(seconds[name]) for name in ("ours", "raw"))


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The table's row."""
    address = local_address(folder / "server")
    codes = random_codes(options.items, options.bits, seed=0)
    queries = random_codes(options.queries, options.bits, seed=1)
    np.save(folder / "codes.npy", codes)
    there = fill_and_kill(folder / "codes.npy", address, at=options.items // 2)
    start = time.perf_counter()
    index = MilvusIndex(codes, collection="killed", address=address)
    resumed = time.perf_counter() - start
    np.testing.assert_array_equal(index.ids, np.arange(options.items))
    assert len(index) == options.items
    again = best_time(lambda: MilvusIndex(codes, collection="killed", address=address))
    assert_exact(index, codes, queries)
    milliseconds = [1e3 * best_time(lambda query=query: index.search(query[None], K)) for query in queries]
    MilvusIndex.drop("killed", address=address)
    ours, raw = throughputs(address, codes[: options.turns * options.turn_items], options.turns)
    return {
        "codes": options.items,
        "bits": options.bits,
        "there when killed": there,
        "resumed, s": resumed,
        "again with all there, s": again,
        "each id once": "yes",
        "as exact Hamming": f"{len(queries)} of {len(queries)} queries",
        "ms a query": statistics.median(milliseconds),
        "ours, codes/s": ours,
        "pymilvus, codes/s": raw,
        "ratio": ours / raw,
    }


def main() -> None:
    """Parse arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--turn-items", type=int, default=80_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        report([measure(Path(folder), options)], options.json)


if __name__ == "__main__":
    main()
