"""Which rows of a table are compared under a protocol, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

import msgspec

from .schema import Row, Table


def best_first(rows: Sequence[Row], protocol: str) -> list[Row]:
    """The rows that were measured under a protocol, by its primary metric; equal ones by title."""
    measured = (row for row in rows if protocol in row.metrics)
    return sorted(measured, key=lambda row: (-row.primary_mean(protocol), row.title))


def real_valued(rows: Sequence[Row], protocol: str) -> list[Row]:
    """The rows of real-valued methods, best first."""
    return best_first([row for row in rows if row.bits is None], protocol)


def by_code_length(rows: Sequence[Row], protocol: str) -> dict[str, dict[int, Row]]:
    """The rows of hashing methods: title -> code length -> row; the best method on average over its lengths first."""
    methods: dict[str, dict[int, Row]] = {}
    for row in rows:
        if row.bits is not None and protocol in row.metrics:
            methods.setdefault(row.title, {})[row.bits] = row

    def order(title: str) -> tuple[float, str]:
        return (-mean(row.primary_mean(protocol) for row in methods[title].values()), title)

    return {title: dict(sorted(methods[title].items())) for title in sorted(methods, key=order)}


def in_order(table: Table) -> Table:
    """The table with its rows best first by the first protocol; those that were not measured under it last."""
    first = next(iter(table.protocols))
    others = sorted((row for row in table.rows if first not in row.metrics), key=lambda row: row.title)
    return msgspec.structs.replace(table, rows=best_first(table.rows, first) + others)
