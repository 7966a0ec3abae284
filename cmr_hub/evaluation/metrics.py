"""Retrieval metrics over ranked hits. Each is a pure function; what differs between papers is an argument.

Most take `hits`: a `(q, n)` boolean array, for each query whether the item of each rank is relevant, best rank first.
A `(q, k)` array is a ranking that was cut at k.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import hypergeom

from .protocols import APDivisor


def average_precision(hits: np.ndarray, relevant: np.ndarray | None = None, divisor: APDivisor = "hits") -> np.ndarray:
    """Average precision: the precisions at the ranks of the hits, summed and divided by a number of relevant items.

    Args:
        hits: `(q, k)` booleans in rank order, of the whole gallery or cut at k.
        relevant: `(q,)` numbers of relevant items in the whole gallery; by default those in `hits`.
        divisor: "hits" (relevant items inside the cut), "relevant" (all of the gallery), or "min" (the smaller of k
            and all). Without a cut the three are one.

    Returns:
        `(q,)` float64. A query without a hit has 0.

    Example:
    ```python
    >>> average_precision(np.array([[True, False, True, False]])).tolist()  # (1/1 + 2/3) / 2
    [0.8333333333333333]
    >>> average_precision(np.array([[True, False]]), relevant=np.array([4]), divisor="min").tolist()
    [0.5]
    ```
    """
    rows, ranks, nth = _hit_positions(hits)
    total = np.bincount(rows, nth / (ranks + 1), minlength=len(hits))
    found = np.bincount(rows, minlength=len(hits))
    return _divide(total, _ap_divisor(found, found if relevant is None else relevant, hits.shape[1], divisor))


def expected_average_precision(
    hits: np.ndarray, scores: np.ndarray, cut_off: int | None = None, divisor: APDivisor = "hits"
) -> np.ndarray:
    """Average precision expected over all orders of tied items, in closed form (McSherry & Najork, ECIR 2008).

    In a tie group of m ranks after s others, with x of its items relevant and h relevant ones before it, the rank p is
    a hit with probability x/m, and then h + 1 + (p-s-1)(x-1)/(m-1) hits are expected up to it. The sums over p are
    harmonic numbers. Where the cut goes through a group, the number x inside the cut is hypergeometric, and the sum
    runs over its values: the divisor "hits" depends on it.

    Args:
        hits: `(q, n)` booleans in rank order, of the whole gallery: a tie at the cut needs its members beyond it.
        scores: `(q, n)` numbers in rank order; neighbours that are equal are tied.
        cut_off: ranks that count; all by default.
        divisor: as in [`average_precision`].

    Returns:
        `(q,)` float64.

    Example:
    ```python
    >>> hits, tied = np.array([[True, False]]), np.zeros((1, 2))
    >>> expected_average_precision(hits, tied).tolist()  # 1 or 1/2, both as likely
    [0.75]
    ```
    """
    n = hits.shape[1]
    k = n if cut_off is None else min(cut_off, n)
    row, start, size, found = _tie_groups(hits, scores)
    relevant = np.count_nonzero(hits, axis=1)
    before = np.cumsum(found) - found - (np.cumsum(relevant) - relevant)[row]
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n + 1))])

    def group_sum(s: np.ndarray, m: np.ndarray, h: np.ndarray, x: np.ndarray) -> np.ndarray:
        reciprocals = harmonic[s + m] - harmonic[s]
        return x / m * ((h + 1) * reciprocals + (x - 1) / np.maximum(m - 1, 1) * (m - (s + 1) * reciprocals))

    whole = start + size <= k
    total = np.bincount(row[whole], group_sum(start, size, before, found)[whole], minlength=len(hits))
    inside = np.bincount(row[whole], found[whole], minlength=len(hits)).astype(int)
    expected = _divide(total, _ap_divisor(inside, relevant, k, divisor))

    cut = (start < k) & ~whole
    if cut.any():
        at, s, h = row[cut], start[cut, None], before[cut, None]
        m = k - s
        x = np.arange(m.max() + 1)
        likely = hypergeom.pmf(x, size[cut, None], found[cut, None], m)
        outcome = _divide(total[at, None] + group_sum(s, m, h, x), _ap_divisor(h + x, relevant[at, None], k, divisor))
        expected[at] = (likely * outcome).sum(axis=1)
    return expected


def expected_hits(hits: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How likely each rank is a hit when tied items stand in random order: `(q, n)` float64.

    P@k and nDCG are linear in the hits: given these, they return their expectations over ties.
    """
    _, _, size, found = _tie_groups(hits, scores)
    return np.repeat(found / size, size).reshape(hits.shape)


def precision_at(hits: np.ndarray, k: int) -> np.ndarray:
    """P@k: the share of hits among the first `k` ranks. `(q, n)` -> `(q,)`."""
    return hits[:, :k].mean(axis=1)


def ndcg_at(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """nDCG@k with binary gains: hits discounted by log2(rank + 1), over the best possible order. `(q, n)` -> `(q,)`.

    Args:
        hits: `(q, n)` booleans, or probabilities from [`expected_hits`], n at least k.
        relevant: `(q,)` numbers of relevant items in the whole gallery. A query without any has 0.
        k: ranks that count.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant, k)]
    return _divide(hits[:, :k] @ discount, ideal)


def recall_at(ranks: np.ndarray, k: int) -> float:
    """R@k of instance retrieval: the share of queries whose own item (the best of them) is among the first `k`."""
    return float((ranks <= k).mean())


def median_rank(ranks: np.ndarray) -> float:
    """MedR: the median rank of the own item, rounded down as in the papers' tables."""
    return float(np.floor(np.median(ranks)))


def expected_recall_at(before: np.ndarray, tied: np.ndarray, right: np.ndarray, k: int) -> float:
    """R@k expected over all orders of tied items.

    Args:
        before: `(q,)` numbers of items that stand before the first right one whatever the order.
        tied: `(q,)` sizes of the tie group that it stands in.
        right: `(q,)` numbers of right items in that group, one at least.
        k: ranks that count.
    """
    inside = np.clip(k - before, 0, tied)
    return float(1 - hypergeom.pmf(0, tied, right, inside).mean())


def expected_rank(before: np.ndarray, tied: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rank of the first right item, as [`expected_recall_at`] takes it, expected over all orders: `(q,)` float64."""
    return before + (tied + 1) / (right + 1)


def interpolated_precision(hits: np.ndarray, points: int = 11) -> np.ndarray:
    """The precision-recall curve of each query: at each recall level the best precision at that recall or more.

    Args:
        hits: `(q, n)` booleans in rank order, of the whole gallery.
        points: recall levels, evenly from 0 to 1.

    Returns:
        `(queries with a relevant item, points)` float64: recall means nothing for the others, which are left out.
    """
    hits = hits[hits.any(axis=1)]
    rows, ranks, nth = _hit_positions(hits)
    best = np.zeros(hits.shape)
    best[rows, ranks] = nth / (ranks + 1)
    best = np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
    found = np.count_nonzero(hits, axis=1)[:, None]
    needed = np.maximum(-(-np.arange(points) * found // (points - 1)), 1)  # ceil, in integers: 0.7 * 10 is above 7
    reached = ranks[np.cumsum(found)[:, None] - found + needed - 1]
    return np.take_along_axis(best, reached, axis=1)


def lookup_counts(hits: np.ndarray, distances: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What hash lookup returns: everything within a Hamming radius. Order plays no part.

    Args:
        hits: `(q, n)` booleans.
        distances: `(q, n)` integer Hamming distances of the same items; larger ones than `bits` are never returned.
        bits: code length.

    Returns:
        For the radii 0 … bits how many relevant items are returned, and how many items, `(q, bits + 1)` float64 each;
        and how many relevant items there are, `(q, 1)` int64.
    """
    row, column = np.nonzero(distances <= bits)
    cell = row * (bits + 1) + distances[row, column]
    shape = (len(hits), bits + 1)

    def within(weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(cell, weights, minlength=shape[0] * shape[1]).reshape(shape).cumsum(axis=1, dtype=float)

    return within(hits[row, column]), within(), np.count_nonzero(hits, axis=1)[:, None]


def pooled_lookup(right: np.ndarray, returned: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of hash lookup over all queries together, as the hashing papers count it.

    It is what DCMH's `calcPreRecRadiusLabel` computes: a query that returns much weighs much.

    Args:
        right: relevant items that are returned, from [`lookup_counts`].
        returned: items that are returned.
        relevant: relevant items that there are.

    Returns:
        Two `(bits + 1,)` float64 arrays; precision is 0 where no query returns anything.

    Example:
    ```python
    >>> hits, distances = np.array([[True, False], [True, True]]), np.array([[1, 1], [0, 1]])
    >>> [values.round(2).tolist() for values in pooled_lookup(*lookup_counts(hits, distances, bits=1))]
    [[1.0, 0.75], [0.33, 1.0]]
    ```
    """
    return _divide(right.sum(axis=0), returned.sum(axis=0)), _divide(right.sum(axis=0), relevant.sum(axis=0))


def mean_lookup(right: np.ndarray, returned: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of hash lookup, averaged over queries; one that finds nothing has precision 0.

    Queries without a relevant item are left out.

    Args:
        right: relevant items that are returned, from [`lookup_counts`].
        returned: items that are returned.
        relevant: relevant items that there are.

    Returns:
        Two `(bits + 1,)` float64 arrays.

    Example:
    ```python
    >>> hits, distances = np.array([[True, False], [True, True]]), np.array([[1, 1], [0, 1]])
    >>> [values.tolist() for values in mean_lookup(*lookup_counts(hits, distances, bits=1))]
    [[0.5, 0.75], [0.25, 1.0]]
    ```
    """
    some = relevant[:, 0] > 0
    right, returned, relevant = right[some], returned[some], relevant[some]
    return _divide(right, returned).mean(axis=0), (right / relevant).mean(axis=0)


def _hit_positions(hits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, rank (from 0) and number within its row (from 1) of every hit, row by row."""
    flat = np.flatnonzero(hits)  # half the time of np.nonzero
    starts = np.searchsorted(flat, np.arange(len(hits) + 1) * hits.shape[1])
    found = np.diff(starts)
    rows = np.repeat(np.arange(len(hits)), found)
    ranks = flat - rows * hits.shape[1]
    nth = np.arange(1, len(rows) + 1) - np.repeat(starts[:-1], found)
    return rows, ranks, nth


def _tie_groups(hits: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, first rank (from 0), size and number of relevant items of every run of equal scores, row by row."""
    opens = np.ones(hits.shape, bool)
    opens[:, 1:] = scores[:, 1:] != scores[:, :-1]
    row, start = np.nonzero(opens)
    flat = row * hits.shape[1] + start
    return row, start, np.diff(flat, append=hits.size), np.add.reduceat(hits.ravel(), flat, dtype=np.int64)


def _ap_divisor(found: np.ndarray, relevant: np.ndarray, k: int, divisor: APDivisor) -> np.ndarray:
    if divisor == "hits":
        return found
    return relevant if divisor == "relevant" else np.minimum(relevant, k)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, and 0 where the denominator is."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator != 0)
