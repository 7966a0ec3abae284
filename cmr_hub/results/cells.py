"""Cells of the Markdown tables that training runs are put into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cmr_hub.evaluation import decimals

if TYPE_CHECKING:
    from .table import Row

DIRECTIONS = {"image_to_text/": "I→T", "text_to_image/": "T→I"}
AVERAGES = {"map": " average", "mean_recall": ""}  # means of both directions that have a column, and its heading
TITLES = {"map": "mAP", "recall": "R", "precision": "P", "ndcg": "nDCG", "mean_recall": "mR"}


def markdown_row(cells: Sequence[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def value_cell(row: Row, protocol: str, name: str, best: str | None) -> str:
    """One metric: ".663 ± .016", bold where it is the best, "–" where it was not measured."""
    if protocol not in row.metrics:
        return "–"
    spread = row.metrics[protocol][name]
    text = decimals(spread.mean)
    if text == best:
        text = f"**{text}**"
    if spread.deviation is not None:
        text += f" ± {decimals(spread.deviation)}"
    return text if row.measured[protocol] == row.runs else f"{text} ({row.measured[protocol]} of {row.runs} runs)"


def seeds_cell(row: Row) -> str:
    """ "0, 1, 2", or that chance has no part in it."""
    return ", ".join(map(str, row.seeds)) or "closed form"


def seconds_cell(seconds: float) -> str:
    """Whole seconds; of short times a tenth more."""
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"


def metric_title(name: str) -> str:
    """ "recall@5" as "R@5"."""
    kind, at, k = name.partition("@")
    return TITLES.get(kind, kind) + at + k


def has_column(name: str) -> bool:
    """Whether a metric stands in tables. Ranks do not; mAP has its mean beside both directions, mR has it alone."""
    direction, _, plain = name.rpartition("/")
    return plain in AVERAGES if not direction else not (plain.endswith("_rank") or plain == "mean_recall")


def cited_figures(given: Mapping[str, float]) -> dict[str, list[float]]:
    """Metric -> what a publication gives of it: of the directions, as far as it gives them, or of both together."""
    figures = {}
    for metric in dict.fromkeys(name.split("/")[-1] for name in given):
        names = [way + metric for way in DIRECTIONS if way + metric in given] or [metric]
        figures[metric] = [given[name] for name in names]
    return figures


def primary_metric(row: Row, protocol: str) -> str:
    """The first metric of the protocol that has a mean of both directions: mAP, or the mean recall."""
    return next(name for name in row.metrics[protocol] if "/" not in name)


def best_mean(rows: Sequence[Row], protocol: str, name: str) -> str | None:
    """The best mean as it is printed; none where there is nothing to compare."""
    return decimals(max(row.metrics[protocol][name].mean for row in rows)) if len(rows) > 1 else None
