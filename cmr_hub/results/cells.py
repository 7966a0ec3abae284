"""The text of single cells in tables of results, whatever the tables are rendered to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmr_hub.evaluation import DIRECTIONS, decimals

from .schema import Reproduction, Row

UNKNOWN = "–"
SHORT_TITLES = dict(zip(DIRECTIONS, ("I→T", "T→I"), strict=True))
AVERAGES = {"map": " average", "mean_recall": ""}  # means of both directions that have a column, and its heading
METRIC_TITLES = {"map": "mAP", "recall": "R", "precision": "P", "ndcg": "nDCG", "mean_recall": "mR"}


def value_cell(row: Row, protocol: str, name: str, best: str | None) -> str:
    """One metric: ".663 ± .016", bold where it is the best, "–" where it was not measured."""
    if protocol not in row.metrics:
        return UNKNOWN
    spread = row.metrics[protocol][name]
    text = decimals(spread.mean)
    if text == best:
        text = f"**{text}**"
    if spread.deviation is not None:
        text += f" ± {decimals(spread.deviation)}"
    return text if row.measured[protocol] == row.runs else f"{text} ({row.measured[protocol]} of {row.runs} runs)"


def published_cell(row: Row, protocol: str, name: str) -> str:
    """The published figure as " (.251)"; nothing where no publication gives it."""
    given = row.published.under(protocol)
    return f" ({decimals(given[name])})" if name in given else ""


def seeds_cell(row: Row) -> str:
    """The seeds as "0, 1, 2", or that the method has no randomness."""
    return ", ".join(map(str, row.seeds)) or "closed form"


def encoder_cells(row: Row, modalities: Sequence[str]) -> list[str]:
    """The row's encoder of each of some modalities."""
    return [str(row.encoders.get(modality, UNKNOWN)) for modality in modalities]


def seconds_cell(seconds: float) -> str:
    """Whole seconds; with one decimal below ten."""
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"


def duration(seconds: float) -> str:
    """A time for people: "43 s", "12 min", "3 h 05 min".

    Example:
    ```python
    >>> duration(43.2), duration(700), duration(11_100)
    ('43 s', '12 min', '3 h 05 min')
    ```
    """
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def metric_title(name: str) -> str:
    """Short title of a metric: "R@5" of "recall@5"."""
    kind, at, k = name.partition("@")
    return METRIC_TITLES.get(kind, kind) + at + k


def has_column(name: str) -> bool:
    """Whether tables show a metric. Ranks have no column; mAP has its mean and both directions, mR its mean alone."""
    direction, _, plain = name.rpartition("/")
    return plain in AVERAGES if not direction else not (plain.endswith("_rank") or plain == "mean_recall")


def without_rows(results: Reproduction) -> list[tuple[str, str]]:
    """What has no row, and why: the titles of one reason together."""
    titles: dict[str, list[str]] = {}
    for one in results.not_measured:
        titles.setdefault(one.reason, []).append(one.title)
    return [("; ".join(named), reason) for reason, named in titles.items()]


def cited_figures(given: Mapping[str, float]) -> dict[str, list[float]]:
    """Metric -> what a publication gives of it: of the directions, as far as it gives them, or of both together."""
    figures = {}
    for metric in dict.fromkeys(name.split("/")[-1] for name in given):
        names = [f"{way}/{metric}" for way in DIRECTIONS if f"{way}/{metric}" in given] or [metric]
        figures[metric] = [given[name] for name in names]
    return figures


def best_mean(rows: Sequence[Row], protocol: str, name: str) -> str | None:
    """The best mean as it is printed; none where there is nothing to compare."""
    return decimals(max(row.metrics[protocol][name].mean for row in rows)) if len(rows) > 1 else None
