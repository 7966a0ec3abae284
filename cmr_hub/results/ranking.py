"""Which rows of a table stand together under a protocol, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING

from .cells import primary_metric

if TYPE_CHECKING:
    from .table import Row


def best_first(rows: Sequence[Row], protocol: str) -> list[Row]:
    """The rows that were measured under a protocol, by its primary metric; equal ones by title."""
    return sorted(
        (row for row in rows if protocol in row.metrics), key=lambda row: (-_primary_mean(row, protocol), row.title)
    )


def real_valued(rows: Sequence[Row], protocol: str) -> list[Row]:
    """Those of methods whose embeddings are no codes, best first."""
    return best_first([row for row in rows if row.bits is None], protocol)


def by_code_length(rows: Sequence[Row], protocol: str) -> dict[str, dict[int, Row]]:
    """Those of hashing methods: title -> code length -> row; the best method on average over its lengths first."""
    methods: dict[str, dict[int, Row]] = {}
    for row in rows:
        if row.bits is not None and protocol in row.metrics:
            methods.setdefault(row.title, {})[row.bits] = row

    def order(title: str) -> tuple[float, str]:
        return (-mean(_primary_mean(row, protocol) for row in methods[title].values()), title)

    return {title: dict(sorted(methods[title].items())) for title in sorted(methods, key=order)}


def _primary_mean(row: Row, protocol: str) -> float:
    return row.metrics[protocol][primary_metric(row, protocol)].mean
