"""Results over seeds as HTML: tables, what they were measured on, and how they are made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean
from urllib.parse import quote

from markupsafe import Markup

from cmr_hub.evaluation import decimals, get_protocol
from cmr_hub.methods import LEARNS_FROM
from cmr_hub.results import Reproduction, Row
from cmr_hub.results.cells import (
    best_mean,
    cited_figures,
    duration,
    has_column,
    metric_title,
    seconds_cell,
    seeds_cell,
    without_rows,
)
from cmr_hub.results.ranking import by_code_length, by_reason, differing_encoders, real_valued
from cmr_hub.results.spreadsheet import to_csv

from .rendering import render
from .scores_markup import DIRECTIONS, UNKNOWN, title_of
from .tables import Cell, Column, table, words


def introduction() -> Markup:
    """What the results are of."""
    return render("results_introduction")


def nothing_measured() -> Markup:
    """What stands in the place of results."""
    return render("results_none")


def counted(results: Reproduction, protocol: str) -> Markup:
    """What a protocol counts, with a warning where it chooses the epoch on the data that it is measured on."""
    name, _, rest = results.table.protocols[protocol].partition(": ")
    is_chosen_on_test = get_protocol(protocol).selection_split == "test"
    return render("results_counted", name=name, rest=rest, is_chosen_on_test=is_chosen_on_test)


def tables(results: Reproduction, protocol: str) -> Markup:
    """The methods that were measured under a protocol: real-valued ones, and codes by their length.

    Rows whose encoder was trained on the data set's captions have tables of their own, after the others, and a reason.
    """
    rows = [row for row in results.table.rows if protocol in row.metrics]
    groups = [
        {"reason": reason, "tables": _tables(results, protocol, own)}
        for reason, own in by_reason(rows, results.dataset).items()
    ]
    cited = [row for row in rows if row.published.under(protocol)]
    return render(
        "results_tables",
        groups=groups,
        sources=list(dict.fromkeys((row.title, row.published.source) for row in cited)),
        reasons=list(dict.fromkeys((row.title, row.published.differs) for row in cited if row.published.differs)),
    )


def _tables(results: Reproduction, protocol: str, rows: Sequence[Row]) -> list[Markup]:
    """The tables of rows that compare with each other."""
    parts = [_floats(results, protocol, own)] if (own := real_valued(rows, protocol)) else []
    if methods := by_code_length(rows, protocol):
        parts += [_codes(results, protocol, methods, direction) for direction in DIRECTIONS]
    return parts


def _floats(results: Reproduction, protocol: str, rows: Sequence[Row]) -> Markup:
    primary = rows[0].primary_metric(protocol)
    columns = [_METHOD, *_encoders(rows), _LEARNS_FROM]
    for name in filter(has_column, results.table.columns[protocol]):
        columns.append(_figure(_heading(name, primary), protocol, name, best_mean(rows, protocol, name)))
    if any(row.published.under(protocol) for row in rows):
        columns.append(_cited(protocol, primary))
    columns += [_SEEDS, _SECONDS]
    methods = len({row.title for row in rows})
    caption = f"{metric_title(primary)} of {_count(methods, 'real-valued method')}{_where(results, protocol)}"
    return table("Real-valued methods", caption, columns, rows, sorted_by="Mean")


def _codes(results: Reproduction, protocol: str, methods: Mapping[str, Mapping[int, Row]], direction: str) -> Markup:
    """One direction: one column per code length."""
    each = [row for own in methods.values() for row in own.values()]
    primary = each[0].primary_metric(protocol)
    name = f"{direction}/{primary}"
    columns = [_first(column) for column in (_METHOD, *_encoders(each), _LEARNS_FROM)]
    for bits in sorted({row.bits for row in each if row.bits is not None}):
        best = best_mean([row for row in each if row.bits == bits], protocol, name)
        columns.append(_at(bits, _figure(f"{bits} bits", protocol, name, best, cites=True)))
    columns += [_first(_SEEDS), _first(_SECONDS)]
    title = DIRECTIONS[direction].lower()
    of = _count(len({row.title for row in each}), "hashing method")
    caption = f"{metric_title(primary)}, {title}, of {of}{_where(results, protocol)}"
    return table(f"Hashing methods, {title}", caption, columns, methods.values())


def _encoders(rows: Sequence[Row]) -> list[Column]:
    """A column per modality in which the rows have different encoders."""

    def column(modality: str) -> Column:
        return words(f"{modality.title()} encoder", lambda row: str(row.encoders.get(modality, UNKNOWN)))

    return [column(modality) for modality in differing_encoders(rows)]


def _first(column: Column) -> Column:
    """A column of what the rows of all lengths share; of the shortest, where they do not."""
    return replace(column, cell=lambda rows: column.cell(next(iter(rows.values()))))


def _at(bits: int, column: Column) -> Column:
    """A column of the rows of one length."""
    return replace(column, cell=lambda rows: column.cell(rows[bits]) if bits in rows else Cell(UNKNOWN))


def _figure(title: str, protocol: str, name: str, best: str | None, cites: bool = False) -> Column:
    """Mean and deviation of one metric, the best mean bold; where asked for, with the published figure in brackets."""

    def cell(row: Row) -> Cell:
        spread = row.metrics[protocol][name]
        text, notes = decimals(spread.mean), []
        if spread.deviation is not None:
            notes.append(f"± {decimals(spread.deviation)}")
        if row.measured[protocol] != row.runs:
            notes.append(f"of {row.measured[protocol]} of {row.runs} runs")
        given = row.published.under(protocol) if cites else {}
        if name in given:
            notes.append(f"({decimals(given[name])})")
        return Cell(text, spread.mean, is_best=text == best, notes=notes)

    return Column(title, cell)


def _cited(protocol: str, primary: str) -> Column:
    """What a publication gives under the same protocol: of both directions, or of them together."""

    def cell(row: Row) -> Cell:
        cited = cited_figures(row.published.under(protocol))
        figures = [
            ("" if metric == primary else f"{metric_title(metric)} ") + " / ".join(map(decimals, values))
            for metric, values in cited.items()
        ]
        values = cited.get(primary)
        return Cell(", ".join(figures) or UNKNOWN, mean(values) if values else None)

    return Column("Published", cell)


_METHOD = Column("Method", lambda row: Cell(row.title, row.title.lower()), is_number=False)
_LEARNS_FROM = words("Learns from", lambda row: LEARNS_FROM[row.supervision])
_SEEDS = words("Seeds", seeds_cell)
_SECONDS = Column("Seconds", lambda row: Cell(seconds_cell(row.seconds), row.seconds))


def _heading(name: str, primary: str) -> str:
    direction, _, metric = name.rpartition("/")
    if metric == primary:
        return DIRECTIONS[direction] if direction else "Mean"
    return f"{metric_title(metric)}, {DIRECTIONS[direction].lower()}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def _where(results: Reproduction, protocol: str) -> str:
    return f" on the {results.table.split} split of {title_of(results.dataset)}, protocol {protocol}"


def about(results: Reproduction, protocol: str) -> Markup:
    """What was measured on what, what it took, how it is made again, and what is missing."""
    versions = "; ".join(f"{name} {', '.join(found)}" for name, found in sorted(_versions(results.table.rows).items()))
    with_versions = f", with {versions}" if versions else ""
    return render(
        "results_about",
        results=results,
        pairs=", ".join(f"{count:,} {split}" for split, count in results.pairs.items()),
        ran=f"It took {duration(results.seconds)} on {results.machine}{with_versions}.",
        file_name=f"{results.dataset}-{protocol}.csv",
        csv=quote(to_csv(results.table, protocol)),
        not_measured=without_rows(results),
    )


def _versions(rows: Sequence[Row]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        for package, versions in row.versions.items():
            found.setdefault(package, set()).update(versions)
    return {package: sorted(versions) for package, versions in found.items()}
