"""Scores, curves' figures and ablations as HTML. Everything from cards and data is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from cmr_hub.data import DATASETS, info
from cmr_hub.evaluation import EvaluationResult, MeanStd, decimals
from cmr_hub.methods import LEARNS_FROM, METHODS
from cmr_hub.results.leaderboard import Figures, Score
from cmr_hub.results.schema import AblationTable

from ..services.scoreboard import Scoreboard
from .tables import Column, scrolling, sortable

METRICS = {"map": "mAP", "mean_recall": "mR"}
DIRECTIONS = {"image_to_text": "Image → text", "text_to_image": "Text → image"}
UNKNOWN = "–"


def board(scoreboard: Scoreboard, protocol: str, where: str) -> str:
    """The scores under one protocol, what that protocol counts, and how far it moves them.

    Args:
        scoreboard: the scores.
        protocol: name of the protocol.
        where: what the scores are on, for people.
    """
    scores = scoreboard.ranking(protocol)
    sources = list(dict.fromkeys(score.published_in for score in scores if score.published))
    columns = _columns(scoreboard, protocol, sources)
    metrics = " and ".join(dict.fromkeys(METRICS[score.metric] for score in scores))
    count = f"{len(scores)} checkpoint{'s' if len(scores) > 1 else ''}"
    caption = f"{metrics} of {count} on the test split of {where}, protocol {protocol}"
    return (
        f"{_what_counts(scoreboard, protocol)}{sortable('Scores', caption, columns, scores, 'Mean')}"
        f"{_published(sources, scores)}"
    )


def _columns(scoreboard: Scoreboard, protocol: str, sources: Sequence[str]) -> list[Column]:
    def published(score: Score) -> str:
        if score.published is None:
            return UNKNOWN
        return f"{_decimals(score.published.mean)}<sup>{sources.index(score.published_in) + 1}</sup>"

    columns = [Column("Method", lambda score: escape(score.title), lambda score: score.title.lower(), is_number=False)]
    columns += [_figure(title, direction) for direction, title in DIRECTIONS.items()]
    columns.append(_figure("Mean", "mean"))
    if protocol != scoreboard.usual:
        against = f"Against {scoreboard.usual}"
        columns.append(Column(against, lambda score: _signed(scoreboard.change(score)), scoreboard.change))
    if sources:
        columns.append(Column("Published", published, lambda score: score.published and score.published.mean))
    return [
        *columns,
        Column("Bits", lambda score: str(score.bits or UNKNOWN), lambda score: score.bits),
        Column("Learns from", learns_from, learns_from, is_number=False),
        Column(
            "Data set", lambda score: escape(title_of(score.dataset)), lambda score: score.dataset, is_number=False
        ),
        Column("Seed", lambda score: _seeds(score.seeds), lambda score: _seeds(score.seeds), is_number=False),
        Column("Checkpoint", _checkpoint, lambda score: score.checkpoint, is_number=False),
    ]


def _figure(title: str, name: str) -> Column:
    def value(score: Score) -> float | None:
        return getattr(score.measured, name)

    return Column(title, lambda score: _decimals(value(score)), value)


def _checkpoint(score: Score) -> str:
    if Path(score.checkpoint).is_absolute():
        return "trained here"
    return f"<code>{escape(score.checkpoint)}</code>"


def _what_counts(scoreboard: Scoreboard, protocol: str) -> str:
    """The protocol's own line, what differs from the usual one standing out, and what that does to the scores."""
    descriptions = {score.protocol: score.description for score in scoreboard.scores}
    usual = _parts(descriptions[scoreboard.usual])
    parts = [
        f"<mark>{escape(part)}</mark>" if part not in usual else escape(part)
        for part in _parts(descriptions[protocol])
    ]
    return (
        f'<p class="cmr-counts"><b>{escape(protocol)}</b> counts {"; ".join(parts)}.</p>'
        f'<p class="cmr-moves">{_moves(scoreboard, protocol)}</p>'
    )


def _parts(description: str) -> list[str]:
    return description.partition(": ")[2].split("; ")


def _moves(scoreboard: Scoreboard, protocol: str) -> str:
    usual = escape(scoreboard.usual)
    if protocol == scoreboard.usual:
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


def _published(sources: Sequence[str], scores: Sequence[Score]) -> str:
    """Where the published figures come from, and both of their directions."""
    items = []
    for source in sources:
        cited = [score for score in scores if score.published_in == source]
        figures = "; ".join(f"{escape(score.title)} {_both(score.published)}" for score in cited)
        items.append(f"<li>{escape(source)}: {figures}</li>")
    return (
        f'<p class="cmr-counts">Published, not measured here:</p><ol class="cmr-sources">{"".join(items)}</ol>'
        if items
        else ""
    )


def _both(figures: Figures) -> str:
    return ", ".join(f"{title.lower()} {_decimals(getattr(figures, name))}" for name, title in DIRECTIONS.items())


def curve_figures(results: Mapping[str, EvaluationResult]) -> str:
    """What the curves are of, and the same as numbers.

    Args:
        results: name of a checkpoint -> what was measured of it, with curves, all under one protocol.
    """
    first = next(iter(results.values()))
    levels = first.curves["image_to_text"]["recall"]
    headings = '<th scope="col">Checkpoint</th><th scope="col">Direction</th>' + "".join(
        f'<th scope="col" class="cmr-number">{level:.1f}</th>' for level in levels
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{title}</td>'
        + "".join(f'<td class="cmr-number">{decimals(value)}</td>' for value in result.curves[direction]["precision"])
        + "</tr>"
        for name, result in results.items()
        for direction, title in DIRECTIONS.items()
    )
    table = scrolling("Curves as numbers", "Precision at each level of recall", headings, rows, "cmr-figures")
    return (
        f'<p class="cmr-counts">Over all queries of the test split, at each level of recall the mean of the best '
        f"precision at that recall or more, ties by gallery order. Protocol {escape(first.protocol.describe())}.</p>"
        f"<details><summary>The same as numbers</summary>{table}</details>"
    )


def ablations(tables: Sequence[AblationTable]) -> str:
    """What the parts of methods are worth: measured mean and deviation beside what was published."""
    sections = ""
    for method, dataset in dict.fromkeys((table.method, table.dataset) for table in tables):
        together = [table for table in tables if (table.method, table.dataset) == (method, dataset)]
        notes = dict.fromkeys(note for table in together for note in _notes(table))
        sections += (
            f'<section><h3 class="cmr-part">{escape(METHODS[method].title)} on {escape(title_of(dataset))}</h3>'
            f"{''.join(map(_ablation, together))}"
            f"{''.join(f'<p class=cmr-counts>{escape(note)}</p>' for note in notes)}</section>"
        )
    return f'<h2 class="cmr-part">What the parts of a method are worth</h2>{sections}' if sections else ""


def _ablation(table: AblationTable) -> str:
    metric, cites = table.primary_metric, any(row.published for row in table.rows)
    names = [f"image_to_text/{metric}", f"text_to_image/{metric}", metric]
    titles = [*DIRECTIONS.values(), "Mean", *(["Published mean"] if cites else [])]
    headings = '<th scope="col">Variant</th>' + "".join(
        f'<th scope="col" class="cmr-number">{title}</th>' for title in titles
    )
    rows = ""
    for row in table.rows:
        cells = [str(MeanStd.of(row.values[name])) if row.values else UNKNOWN for name in names]
        cells += [_decimals(row.published.get(metric))] if cites else []
        numbers = "".join(f'<td class="cmr-number">{cell}</td>' for cell in cells)
        rows += f'<tr><th scope="row">{escape(row.name)}</th>{numbers}</tr>'
    return scrolling(table.title, table.title, headings, rows, "cmr-figures")


def _notes(table: AblationTable) -> list[str]:
    """How the figures came about, where the published ones come from, and what could not be measured."""
    metric = METRICS[table.primary_metric]
    notes = [f"{metric} on the test split, {_over_seeds(table.seeds)}; {table.protocol_description}."]
    if any(row.published for row in table.rows):
        elsewhere = table.published.dataset or table.dataset
        other = f", measured on {title_of(elsewhere)}" if elsewhere != table.dataset else ""
        notes.append(f"Published: {table.published.source or 'source not given'}{other}.")
    return notes + [f"{row.name} cannot be measured here: {row.reason}" for row in table.rows if row.reason]


def _over_seeds(seeds: Sequence[int]) -> str:
    listed = ", ".join(map(str, seeds))
    return f"mean ± deviation of seeds {listed}" if len(seeds) > 1 else f"seed {listed}"


def learns_from(score: Score) -> str:
    """ "classes" or "pairs"."""
    return LEARNS_FROM[score.supervision]


def title_of(dataset: str) -> str:
    """A data set's title without what it explains of itself; its name where this version does not know it."""
    return re.split(r":| \(", info(dataset).title)[0] if dataset in DATASETS else dataset


def _seeds(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) or "closed form"


def _decimals(value: float | None) -> str:
    return UNKNOWN if value is None else decimals(value)


def _signed(value: float | None) -> str:
    """ "+.012", "−.012"."""
    if value is None:
        return UNKNOWN
    sign = "±" if round(value, 3) == 0 else "+" if value > 0 else "−"
    return sign + decimals(abs(value))
