"""Scores, the figures of curves, and ablations as HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cmr_hub.data import DATASETS, info
from cmr_hub.evaluation import DIRECTION_TITLES, EvaluationResult, MeanStd, decimals
from cmr_hub.methods import LEARNS_FROM, METHODS
from cmr_hub.results.focus_curves import FocusCurve
from cmr_hub.results.leaderboard import Figures, Score
from cmr_hub.results.schema import AblationRow, AblationTable

from ..services.scoreboard import Scoreboard
from .curve_charts import curve_of
from .rendering import render
from .tables import Cell, Column, table, words

METRICS = {"map": "mAP", "mean_recall": "mR"}
DIRECTIONS = {direction: title.capitalize() for direction, title in DIRECTION_TITLES.items()}
UNKNOWN = "–"


def introduction() -> Markup:
    """What the scores are of."""
    return render("scores_introduction")


def board(scoreboard: Scoreboard, protocol: str, where: str) -> Markup:
    """The scores under one protocol, what that protocol counts, and how far it moves them.

    Args:
        scoreboard: the scores.
        protocol: name of the protocol.
        where: what the scores are on, for people.
    """
    scores = scoreboard.ranking(protocol)
    sources = list(dict.fromkeys(score.published_in for score in scores if score.published))
    metrics = " and ".join(dict.fromkeys(METRICS[score.metric] for score in scores))
    count = f"{len(scores)} checkpoint{'s' if len(scores) > 1 else ''}"
    caption = f"{metrics} of {count} on the test split of {where}, protocol {protocol}"
    descriptions = {score.protocol: score.description for score in scoreboard.scores}
    return render(
        "scores_board",
        protocol=protocol,
        parts=_parts(descriptions[protocol]),
        usual_parts=_parts(descriptions[scoreboard.usual]),
        moves=_moves(scoreboard, protocol),
        table=table("Scores", caption, _columns(scoreboard, protocol, sources), scores, sorted_by="Mean"),
        published=[(source, _cited(source, scores)) for source in sources],
        reasons=list(dict.fromkeys((score.title, score.saw_captions) for score in scores if score.saw_captions)),
    )


def _columns(scoreboard: Scoreboard, protocol: str, sources: Sequence[str]) -> list[Column]:
    def change(score: Score) -> Cell:
        value = scoreboard.change(score)
        return Cell(_signed(value), value)

    def published(score: Score) -> Cell:
        if score.published is None:
            return Cell(UNKNOWN)
        mean = score.published.mean
        return Cell(_decimals(mean), mean, footnote=sources.index(score.published_in) + 1)

    columns = [Column("Method", _method, is_number=False)]
    columns += [_figure(title, direction) for direction, title in DIRECTIONS.items()]
    columns.append(_figure("Mean", "mean"))
    if protocol != scoreboard.usual:
        columns.append(Column(f"Against {scoreboard.usual}", change))
    if sources:
        columns.append(Column("Published", published))
    return [
        *columns,
        Column("Bits", lambda score: Cell(str(score.bits or UNKNOWN), score.bits)),
        words("Text encoder", lambda score: score.encoders.get("text", UNKNOWN)),
        words("Learns from", learns_from),
        Column("Data set", lambda score: Cell(title_of(score.dataset), score.dataset), is_number=False),
        words("Seed", lambda score: _seeds(score.seeds)),
        Column("Checkpoint", _checkpoint, is_number=False),
    ]


def _method(score: Score) -> Cell:
    """The method's name, with a remark where its encoder was trained on the captions."""
    notes = ["its encoder was trained on these captions"] if score.saw_captions else []
    return Cell(score.title, score.title.lower(), notes=notes)


def _figure(title: str, name: str) -> Column:
    def cell(score: Score) -> Cell:
        value = getattr(score.measured, name)
        return Cell(_decimals(value), value)

    return Column(title, cell)


def _checkpoint(score: Score) -> Cell:
    """The checkpoint's name; of one that was trained here not its folder, which is nobody else's business."""
    if Path(score.checkpoint).is_absolute():
        return Cell("trained here", "trained here")
    return Cell(score.checkpoint, score.checkpoint, is_code=True)


def _parts(description: str) -> list[str]:
    return description.partition(": ")[2].split("; ")


def _moves(scoreboard: Scoreboard, protocol: str) -> str:
    usual = scoreboard.usual
    if protocol == usual:
        return (
            "Most of these cards lead with this protocol. Choose another, to see the same weights counted otherwise."
        )
    scores = scoreboard.ranking(protocol)
    changes = [change for change in map(scoreboard.change, scores) if change is not None]
    if not changes:
        said = f"This is another measure than that of {usual}: its figures do not compare."
    else:
        span = dict.fromkeys((_signed(min(changes)), _signed(max(changes))))
        said = f"The same weights, counted so: {' to '.join(span)} against {usual}."
    if len(scores) > 1:
        said += f" {scoreboard.moved(protocol)} of {len(scores)} stand at another place than under {usual}."
    return said


def _cited(source: str, scores: Sequence[Score]) -> str:
    """The figures that a publication gives, in both directions."""
    return "; ".join(
        f"{score.title} {_both(score.published)}"
        for score in scores
        if score.published is not None and score.published_in == source
    )


def _both(figures: Figures) -> str:
    return ", ".join(f"{title.lower()} {_decimals(getattr(figures, name))}" for name, title in DIRECTIONS.items())


def without_data(dataset: str) -> Markup:
    """Why there are no curves of a data set."""
    return render("scores_without_data", title=title_of(dataset))


def curve_figures(results: Mapping[str, EvaluationResult]) -> Markup:
    """What the curves are of, and the same as numbers.

    Args:
        results: name of a checkpoint -> what was measured of it, with curves, all under one protocol.
    """
    first = next(iter(results.values()))

    def precision(index: int) -> Any:
        return lambda row: Cell(decimals(curve_of(results[row[0]], row[1])["precision"][index]))

    columns = [words("Checkpoint", lambda row: row[0]), words("Direction", lambda row: DIRECTIONS[row[1]])]
    for index, level in enumerate(curve_of(first, next(iter(DIRECTIONS)))["recall"]):
        columns.append(Column(f"{level:.1f}", precision(index)))
    rows = [(name, direction) for name in results for direction in DIRECTIONS]
    caption = "Precision at each level of recall"
    return render(
        "curve_figures",
        protocol=first.protocol.describe(),
        table=table("Curves as numbers", caption, columns, rows, sorts=False),
    )


def focus_figures(curves: Mapping[str, Sequence[FocusCurve]]) -> Markup:
    """What the chart over the focus is of, and the same as numbers.

    Args:
        curves: name of a checkpoint -> its curves.
    """
    rows = [(name, curve) for name, own in curves.items() for curve in own]

    def mean(focus: float) -> Any:
        return lambda row: Cell(_decimals(row[1].scores[focus].measured.mean if focus in row[1].scores else None))

    columns = [
        words("Checkpoint", lambda row: row[0]),
        words("Protocol", lambda row: row[1].protocol.name),
        words("Metric", lambda row: METRICS[row[1].of.metric]),
        *(Column(f"{focus:g}", mean(focus)) for focus in sorted({each for _, curve in rows for each in curve.scores})),
    ]
    return render(
        "focus_figures",
        protocols=dict.fromkeys(curve.protocol.describe() for _, curve in rows),
        table=table("Scores over the focus", "Mean of both directions at each focus", columns, rows, sorts=False),
    )


def ablations(tables: Sequence[AblationTable]) -> Markup:
    """What the parts of methods contribute: measured mean and deviation next to what was published."""
    sections = []
    for method, dataset in dict.fromkeys((each.method, each.dataset) for each in tables):
        own = [each for each in tables if (each.method, each.dataset) == (method, dataset)]
        notes = list(dict.fromkeys(note for each in own for note in _notes(each)))
        title = f"{METHODS[method].title} on {title_of(dataset)}"
        sections.append({"title": title, "tables": list(map(_ablation, own)), "notes": notes})
    return render("ablations", sections=sections)


def _ablation(ablation: AblationTable) -> Markup:
    metric = ablation.primary_metric
    titles = {f"{direction}/{metric}": title for direction, title in DIRECTIONS.items()} | {metric: "Mean"}

    def measured(name: str) -> Any:
        return lambda row: Cell(str(MeanStd.of(row.values[name])) if row.values else UNKNOWN)

    def published(row: AblationRow) -> Cell:
        return Cell(_decimals(row.published.get(metric)))

    columns = [words("Variant", lambda row: row.name)]
    columns += [Column(title, measured(name)) for name, title in titles.items()]
    if any(row.published for row in ablation.rows):
        columns.append(Column("Published mean", published))
    return table(ablation.title, ablation.title, columns, ablation.rows, sorts=False)


def _notes(ablation: AblationTable) -> list[str]:
    """How the figures came about, where the published ones come from, and what could not be measured."""
    metric = METRICS[ablation.primary_metric]
    notes = [f"{metric} on the test split, {_over_seeds(ablation.seeds)}; {ablation.protocol_description}."]
    if any(row.published for row in ablation.rows):
        elsewhere = ablation.published.dataset or ablation.dataset
        other = f", measured on {title_of(elsewhere)}" if elsewhere != ablation.dataset else ""
        notes.append(f"Published: {ablation.published.source or 'source not given'}{other}.")
    return notes + [f"{row.name} cannot be measured here: {row.reason}" for row in ablation.rows if row.reason]


def _over_seeds(seeds: Sequence[int]) -> str:
    listed = ", ".join(map(str, seeds))
    return f"mean ± deviation of seeds {listed}" if len(seeds) > 1 else f"seed {listed}"


def learns_from(score: Score) -> str:
    """What the method learns from: "classes" or "pairs"."""
    return LEARNS_FROM[score.supervision]


def title_of(dataset: str) -> str:
    """A data set's title without what it explains of itself; its name where this version does not know it."""
    return re.split(r":| \(", info(dataset).title)[0] if dataset in DATASETS else dataset


def _seeds(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) or "closed form"


def _decimals(value: float | None) -> str:
    return UNKNOWN if value is None else decimals(value)


def _signed(value: float | None) -> str:
    """A difference with its sign: "+.012", "−.012"."""
    if value is None:
        return UNKNOWN
    sign = "±" if round(value, 3) == 0 else "+" if value > 0 else "−"
    return sign + decimals(abs(value))
