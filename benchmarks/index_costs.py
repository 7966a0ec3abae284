"""What each index costs as galleries grow: `python benchmarks/index_costs.py [--json FILE] [--figure FILE]`.

Time to build, time a query (one at a time, the ten nearest; the median query, each in its best of three rounds) and
memory, of 10^4 to 10^6 vectors of 128 dimensions (`benchmarks/clusters.py`), of codes of 64 random bits to 10^7; the
lattice takes vectors of 24 dimensions, as it would from a catalyser. Indexes that can look at more or less look at the
least, by doubling, that finds .95 of the ten on queries of their own; the recall in the table is of others. Each is
built in a process of its own; memory is what that holds once it is built, and what of it are embeddings or codes kept
as they came, which may also be mapped from a file. What would take longer to build than `--patience` allows, by the
size before, is left out: a dash.

The law is the slope of log time against log items: over all sizes, and from the last but one size to the last.

    OMP_NUM_THREADS=1 python benchmarks/index_costs.py --largest 1000000 --figure index_costs.png
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clusters import clustered
from benchmarks.common import best_time, report
from cmr_hub.indexes import INDEXES, Index
from cmr_hub.utils import plots

K = 10
WIDTH, LATTICE_WIDTH, BITS = 128, 24, 64
SIZES = (10_000, 100_000, 1_000_000)
CODES = (*SIZES, 10_000_000)
GROWTH = 10  # from a size to the next
WANTED_RECALL = 0.95
QUERIES = 100
ROUNDS = 3  # what the others took longer is other programs' doing
SECONDS = 20.0  # a round; a slow index is asked less
SEEDS = {"items": 1, "validation": 2, "queries": 3}
WARM = 2_000  # items of an index that loads what libraries load when first used
DASH = "-"


@dataclass(frozen=True)
class Kind:
    """One line of the figure.

    Attributes:
        index: its name.
        options: for so many items.
        wider: looks at so much, of an index that can look at more or less.
        data: `(items, seed)` -> embeddings or codes.
        sizes: of the galleries.
    """

    index: str
    options: Callable[[int], dict[str, Any]] = lambda items: {}
    wider: Callable[[Any, int], None] | None = None
    data: Callable[[int, int], np.ndarray] = lambda items, seed: clustered(items, WIDTH, seed)
    sizes: Sequence[int] = field(default=SIZES)


def lists(items: int) -> int:
    """How many inverted lists: about 4 sqrt(n)."""
    return 1 << round(math.log2(4 * math.sqrt(items)))


def random_codes(items: int, seed: int) -> np.ndarray:
    """`(items, 8)` uint8."""
    return np.random.default_rng(seed).integers(0, 256, (items, BITS // 8), dtype=np.uint8)


KINDS = {
    "exact": Kind("exact"),
    "exact, float16": Kind("exact", lambda items: {"dtype": "float16"}),
    "faiss IVF-Flat": Kind(
        "faiss",
        lambda items: {"factory": f"IVF{lists(items)},Flat"},
        lambda index, much: index.widen(nprobe=much),
    ),
    "faiss IVF-PQ32, refined": Kind(
        "faiss",
        lambda items: {"factory": f"IVF{lists(items)},PQ32", "refine": 30},
        lambda index, much: index.widen(nprobe=much),
    ),
    "faiss HNSW32": Kind(
        "faiss", lambda items: {"factory": "HNSW32"}, lambda index, much: index.widen(ef_search=8 * much)
    ),
    "kd_tree": Kind("kd_tree"),
    "lsh": Kind("lsh", wider=lambda index, much: setattr(index, "probes", much)),
    "lattice, 24 dimensions": Kind("lattice", data=lambda items, seed: clustered(items, LATTICE_WIDTH, seed)),
    "hamming, 64 bits": Kind("hamming", data=random_codes, sizes=CODES),
}
MAX = 1024  # lists, candidates or probes


def resident() -> int:
    """Bytes of this process in memory, once what it has freed is given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def nearest(data: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Rows of the true ten."""
    index = INDEXES["hamming" if data.dtype == np.uint8 else "exact"](data)
    return np.concatenate([index.search(queries[start : start + 20], K)[1] for start in range(0, len(queries), 20)])


def recall(index: Index, queries: np.ndarray, true: np.ndarray) -> float:
    """The share of the true ten that an index finds."""
    found = index.search(queries, K)[1]
    return float(np.mean([np.isin(one, some).mean() for one, some in zip(true, found, strict=True)]))


def widen(kind: Kind, index: Index, queries: np.ndarray, true: np.ndarray) -> int:
    """Let an index look at enough, by doubling, and say at how much."""
    much = 1
    kind.wider(index, much)
    while recall(index, queries, true) < WANTED_RECALL and much < MAX:
        much *= 2
        kind.wider(index, much)
    return much


def query_times(index: Index, queries: np.ndarray) -> np.ndarray:
    """Milliseconds of single queries, each the best of some rounds; of as many as a first round has time for."""
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        times: list[float] = []
        for query in queries:
            times.append(1e3 * best_time(lambda query=query: index.search(query[None], K)))
            if not rounds and sum(times) > 1e3 * SECONDS:
                break
        rounds.append(times)
        queries = queries[: len(times)]
    return np.min(rounds, axis=0)


def measure(name: str, items: int) -> dict[str, Any]:
    """One row of the table, in a process of its own."""
    kind = KINDS[name]
    make = INDEXES[kind.index]
    make(kind.data(WARM, SEEDS["items"]), **kind.options(WARM)).search(kind.data(1, SEEDS["queries"]), K)
    before = resident()
    data = kind.data(items, SEEDS["items"])
    start = time.perf_counter()
    index = make(data, **kind.options(items))
    built = time.perf_counter() - start
    del data
    held = resident() - before

    data = kind.data(items, SEEDS["items"])
    queries, validation = (kind.data(QUERIES, SEEDS[some]) for some in ("queries", "validation"))
    true, much = nearest(data, queries), DASH
    if kind.wider is not None:
        much = widen(kind, index, validation, nearest(data, validation))
    del data
    times = query_times(index, queries)
    return {
        "index": name,
        "items": items,
        "looks at": much,
        "build, s": built,
        "ms a query": float(np.median(times)),
        "recall@10": recall(index, queries[: len(times)], true[: len(times)]),
        "bytes an item": held / items,
        "of these kept vectors": index.vectors.nbytes / items,
    }


def missing(name: str, items: int) -> dict[str, Any]:
    """The row of an index that would take too long."""
    columns = "looks at", "build, s", "ms a query", "recall@10", "bytes an item", "of these kept vectors"
    return {"index": name, "items": items, **dict.fromkeys(columns, DASH)}


def rows_of(name: str, largest: int, patience: float) -> Iterator[dict[str, Any]]:
    """The rows of one index, from the smallest size to the largest that can be waited for."""
    row: dict[str, Any] | None = None
    for items in KINDS[name].sizes:
        if items > largest * (GROWTH if name.startswith("hamming") else 1):
            return
        if row is not None and (row["build, s"] == DASH or row["build, s"] * GROWTH > patience):
            row = missing(name, items)
        else:
            # Forked, so that libraries are loaded once; nothing here has used their threads.
            with multiprocessing.get_context("fork").Pool(1) as pool:
                row = pool.apply(measure, (name, items))
        print(row, file=sys.stderr, flush=True)
        yield row


def exponents(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Of the law time = c items^a: over all rows of an index, and over the last two."""
    items, times = np.log([row["items"] for row in rows]), np.log([row["ms a query"] for row in rows])
    return float(np.polyfit(items, times, 1)[0]), float(np.polyfit(items[-2:], times[-2:], 1)[0])


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each cost, a line for each index, all scales logarithmic."""
    figure = Figure(figsize=(15, 4.8), dpi=120, layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, column in zip(panels, ("ms a query", "build, s", "bytes an item"), strict=True):
        for name in dict.fromkeys(row["index"] for row in rows):
            points = [(row["items"], row[column]) for row in rows if row["index"] == name and row[column] != DASH]
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel="items", title=column)
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def main() -> None:
    """Parse arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--indexes", nargs="+", default=list(KINDS), choices=KINDS, metavar="NAME")
    parser.add_argument(
        "--largest", type=int, default=SIZES[-1], help="gallery of vectors; of codes ten times as many"
    )
    parser.add_argument("--patience", type=float, default=1200, help="seconds that building one index may take")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path, help=f"draw it here: {', '.join(plots.SUFFIXES)}")
    options = parser.parse_args()
    if options.figure:
        plots.check_suffix(options.figure)
    rows = []
    for name in options.indexes:
        if KINDS[name].index in INDEXES:
            rows += rows_of(name, options.largest, options.patience)
        else:
            print(f"{name}: there is no such index here", file=sys.stderr)
    report(rows, options.json)
    for name in options.indexes:
        own = [row for row in rows if row["index"] == name and row["ms a query"] != DASH]
        if len(own) > 1:
            overall, last = exponents(own)
            print(f"{name}: time a query ~ items^{overall:.2f}, of the last step items^{last:.2f}")
    if options.figure:
        plots.save(draw(rows), options.figure)


if __name__ == "__main__":
    main()
