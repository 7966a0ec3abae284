"""Hashing methods as the papers print them: a block a direction, a row a method, a column a code length."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING

from cmr_hub.evaluation import decimals
from cmr_hub.methods import LEARNS_FROM

from .cells import (
    DIRECTIONS,
    best_mean,
    markdown_row,
    metric_title,
    primary_metric,
    seconds_cell,
    seeds_cell,
    value_cell,
)
from .leaderboard import published_under
from .ranking import by_code_length

if TYPE_CHECKING:
    from .table import Row


def code_table(rows: Sequence[Row], protocol: str) -> str:
    """One table of the primary metric under one protocol, methods sorted by their average over both directions.

    Args:
        rows: of hashing methods, one a method and code length, all measured under `protocol`.
        protocol: name of the protocol.

    Returns:
        Markdown: heading, table and, where publications give figures, where these come from.
    """
    metric = primary_metric(rows[0], protocol)
    lengths = sorted({row.bits for row in rows})
    methods = by_code_length(rows, protocol)
    lines = [["task", "method", "learns from", *(f"{bits} bits" for bits in lengths), "seeds", "seconds"]]
    lines.append(["---"] * len(lines[0]))
    for direction, task in DIRECTIONS.items():
        name = direction + metric
        best = {
            bits: best_mean([own[bits] for own in methods.values() if bits in own], protocol, name) for bits in lengths
        }
        for title, own in methods.items():
            values = [
                value_cell(own[bits], protocol, name, best[bits]) + published_cell(own[bits], protocol, name)
                if bits in own
                else "–"
                for bits in lengths
            ]
            some = next(iter(own.values()))
            seconds = mean(row.seconds for row in own.values())
            lines.append(
                [task, title, LEARNS_FROM[some.supervision], *values, seeds_cell(some), seconds_cell(seconds)]
            )
    sources = {row.published["source"] for row in rows if published_cell(row, protocol, f"image_to_text/{metric}")}
    notes = [f"In brackets the figures published in {', '.join(sorted(sources))}."] if sources else []
    return "\n\n".join(
        [f"### Codes: {metric_title(metric)} under {protocol}", "\n".join(map(markdown_row, lines)), *notes]
    )


def published_cell(row: Row, protocol: str, name: str) -> str:
    """ " (.251)", or nothing where no publication gives this figure."""
    given = published_under(row.published, protocol).get("metrics", {})
    return f" ({decimals(given[name])})" if name in given else ""
