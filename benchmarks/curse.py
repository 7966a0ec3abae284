"""The curse of dimensionality, seen from a KD-tree: `python benchmarks/curse.py [--json FILE] [--figure FILE]`.

Time a query, one at a time, the ten nearest of 100,000, against dimension 2 to 256: of directions that are uniform on
the sphere, and of such that fill only 8 dimensions, rotated at random into the wider space. Tree and exact search take
turns on the same queries, and medians are compared. The points looked at are those of the leaves that lie nearer to a
query than its tenth neighbour: a search that goes to the nearest cell first opens these and no others.

    OMP_NUM_THREADS=1 python benchmarks/curse.py --figure curse.png
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import report
from cmr_hub.indexes.exact import ExactIndex
from cmr_hub.indexes.kd_tree import KDTreeIndex
from cmr_hub.utils import plots

K = 10
DIMENSIONS = (2, 4, 8, 16, 32, 64, 128, 256)
INTRINSIC = 8
DATA = {"uniform": None, f"of {INTRINSIC} dimensions": INTRINSIC}


def directions(rows: int, dimension: int, intrinsic: int | None, seed: int) -> np.ndarray:
    """`(rows, dimension)` float32 of unit length, uniform on the sphere or on an `intrinsic`-dimensional one in it."""
    inner = min(dimension, intrinsic or dimension)
    points = np.random.default_rng(seed).standard_normal((rows, inner), dtype=np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    if inner == dimension:
        return points
    rotation = np.linalg.qr(np.random.default_rng(dimension).standard_normal((dimension, inner)))[0]
    return np.ascontiguousarray(points @ rotation.T.astype(np.float32))


def leaves(tree: cKDTree) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest corner of each leaf's cell, `(leaves, d)`, and how many points it has."""
    lows, highs, sizes = [], [], []
    stack = [(tree.tree, tree.mins, tree.maxes)]
    while stack:
        node, low, high = stack.pop()
        if node.split_dim < 0:
            lows.append(low)
            highs.append(high)
            sizes.append(node.children)
            continue
        divided_high, divided_low = high.copy(), low.copy()
        divided_high[node.split_dim] = divided_low[node.split_dim] = node.split
        stack += [(node.lesser, low, divided_high), (node.greater, divided_low, high)]
    return np.array(lows), np.array(highs), np.array(sizes)


def shares_looked_at(tree: cKDTree, queries: np.ndarray) -> Iterator[float]:
    """For each query the share of points in cells that are nearer than its tenth neighbour."""
    lows, highs, sizes = leaves(tree)
    reach = tree.query(queries, k=[K])[0][:, 0]
    for query, radius in zip(queries, reach, strict=True):
        outside = np.maximum(np.maximum(lows - query, query - highs), 0)
        yield sizes[np.einsum("ld,ld->l", outside, outside) <= radius**2].sum() / tree.n


def measure(items: int, dimension: int, data: str, count: int) -> dict[str, Any]:
    """One row of the table."""
    vectors = directions(items, dimension, DATA[data], seed=1)
    queries = directions(count, dimension, DATA[data], seed=2)
    ways = {"tree": KDTreeIndex(vectors), "exact": ExactIndex(vectors)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for query in queries:
        for name, index in ways.items():
            start = time.perf_counter()
            index.search(query[None], K)
            times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: statistics.median(some) for name, some in times.items()}
    shares = shares_looked_at(cKDTree(vectors), queries[: count // 2].astype(np.float64))
    return {
        "data": data,
        "dimensions": dimension,
        "KD-tree, ms": medians["tree"],
        "exact, ms": medians["exact"],
        "of exact": medians["tree"] / medians["exact"],
        "points looked at": float(np.mean(list(shares))),
    }


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Time and share of points against dimension, a line for each kind of data; exact search is dashed."""
    figure = Figure(figsize=(11, 4.2), dpi=120, layout="constrained")
    times, shares = figure.subplots(1, 2)
    for number, data in enumerate(DATA):
        some = [row for row in rows if row["data"] == data]
        dimensions = [row["dimensions"] for row in some]
        colour = f"C{number}"
        times.plot(dimensions, [row["KD-tree, ms"] for row in some], "o-", color=colour, label=f"KD-tree, {data}")
        times.plot(dimensions, [row["exact, ms"] for row in some], "--", color=colour, label=f"exact, {data}")
        shares.plot(dimensions, [row["points looked at"] for row in some], "o-", color=colour, label=data)
    times.set(xscale="log", yscale="log", xlabel="dimensions", title="ms a query")
    shares.set(xscale="log", xlabel="dimensions", title="share of points looked at", ylim=(0, 1.05))
    for axes in (times, shares):
        axes.set_xticks(DIMENSIONS, map(str, DIMENSIONS))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def main() -> None:
    """Parse arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path, help=f"draw it here: {', '.join(plots.SUFFIXES)}")
    options = parser.parse_args()
    if options.figure:
        plots.check_suffix(options.figure)
    rows = [
        measure(options.items, dimension, data, options.queries)
        for data, intrinsic in DATA.items()
        for dimension in DIMENSIONS
        if intrinsic is None or dimension >= intrinsic  # below, both data are the same
    ]
    report(rows, options.json)
    if options.figure:
        plots.save(draw(rows), options.figure)


if __name__ == "__main__":
    main()
