"""How fast, and in how much memory, retrieval is measured: `python benchmarks/evaluation.py [--json FILE]`.

The evaluator stands beside a double loop in the style of the papers' reference code (an argsort of each query's
distances, then a Python loop over the ranks that counts hits), on the same embeddings, in the same run.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import best_time, report
from cmr_hub.evaluation import evaluate_embeddings


def embeddings(items: int, dim: int, classes: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images and texts that scatter round the centre of their class."""
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, items)
    centres = random.standard_normal((classes, dim), dtype=np.float32)
    return (
        centres[labels] + 6 * random.standard_normal((items, dim), dtype=np.float32),
        centres[labels] + 6 * random.standard_normal((items, dim), dtype=np.float32),
        labels,
    )


def double_loop(queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray) -> float:
    """mAP of protocol dscmr, one query and one rank at a time."""
    orders = cdist(queries, gallery, "cosine").argsort()
    scores = []
    for query in range(len(queries)):
        order = orders[query]
        hits = precisions = 0.0
        for rank in range(len(gallery)):
            if labels[query] == labels[order[rank]]:
                hits += 1
                precisions += hits / (rank + 1)
        scores.append(precisions / hits if hits else 0.0)
    return float(np.mean(scores))


def peak_memory() -> float:
    """MB that this process, libraries and all, has held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=2_000, help="queries and gallery items beside the double loop")
    parser.add_argument("--large", type=int, default=20_000, help="queries and gallery items of the evaluator alone")
    parser.add_argument("--dim", type=int, default=1024, help="embedding size; DSCMR's is 1024")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    args = parser.parse_args()

    images, texts, labels = embeddings(args.items, args.dim)
    result = evaluate_embeddings(images, texts, labels)
    ours = best_time(lambda: evaluate_embeddings(images, texts, labels), repeats=5)
    loop_map = []
    loop = best_time(lambda: loop_map.extend([double_loop(images, texts, labels), double_loop(texts, images, labels)]))
    np.testing.assert_allclose(loop_map, [result.metrics[f"{way}/map"] for way in result.queries], atol=1e-5)

    images, texts, labels = embeddings(args.large, args.dim)
    large = best_time(lambda: evaluate_embeddings(images, texts, labels))
    small, big = f"{args.items:,} x {args.items:,}", f"{args.large:,} x {args.large:,}"
    report(
        [
            {"both directions": f"double loop, {small}", "seconds": loop, "speed-up": "", "peak MB": ""},
            {"both directions": f"evaluator, {small}", "seconds": ours, "speed-up": loop / ours, "peak MB": ""},
            {"both directions": f"evaluator, {big}", "seconds": large, "speed-up": "", "peak MB": peak_memory()},
        ],
        args.json,
    )
    print(f"dim {args.dim}; protocol {result.protocol.describe()}")


if __name__ == "__main__":
    main()
