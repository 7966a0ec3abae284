"""Results over seeds as HTML: tables, what they were measured on, how they are made again. All of it is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from statistics import mean
from urllib.parse import quote

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
)
from cmr_hub.results.ranking import by_code_length, real_valued
from cmr_hub.results.spreadsheet import to_csv

from .scores_markup import DIRECTIONS, UNKNOWN, title_of
from .tables import Column, sortable

CHOSEN_ON_TEST = (
    '<p class="cmr-flatters"><b>The epoch was chosen on the test split.</b> Some papers\' own code does so, and their '
    "figures compare with these alone. It flatters: what the others report was chosen on validation data.</p>"
)
NOTHING = (
    '<p class="cmr-counts">Nothing has been measured yet. <code>cmr reproduce --dataset wiki</code> '
    "trains every method on Wikipedia, measures it, and puts the figures here.</p>"
)


def counted(results: Reproduction, protocol: str) -> str:
    """What a protocol counts, and aloud where it chooses the epoch on the data that it is measured on."""
    name, _, rest = results.table.protocols[protocol].partition(": ")
    mark = CHOSEN_ON_TEST if get_protocol(protocol).selection_split == "test" else ""
    return f'{mark}<p class="cmr-counts"><b>{escape(name)}</b> counts {escape(rest)}.</p>'


def tables(results: Reproduction, protocol: str) -> str:
    """The methods that were measured under a protocol: real-valued ones, and codes by their length."""
    rows = results.table.rows
    parts = [_floats(results, protocol, own)] if (own := real_valued(rows, protocol)) else []
    if methods := by_code_length(rows, protocol):
        parts += [_codes(results, protocol, methods, way) for way in DIRECTIONS]
    return "".join(parts) + _published(rows, protocol)


def _floats(results: Reproduction, protocol: str, rows: Sequence[Row]) -> str:
    primary = rows[0].primary_metric(protocol)
    columns = [_METHOD, _LEARNS_FROM]
    for name in filter(has_column, results.table.columns[protocol]):
        columns.append(_figure(_heading(name, primary), protocol, name, best_mean(rows, protocol, name)))
    if any(row.published.under(protocol) for row in rows):
        columns.append(_cited(protocol, primary))
    columns += [_SEEDS, _SECONDS]
    caption = f"{metric_title(primary)} of {_count(len(rows), 'real-valued method')}{_where(results, protocol)}"
    return sortable("Real-valued methods", caption, columns, rows, "Mean")


def _codes(results: Reproduction, protocol: str, methods: Mapping[str, Mapping[int, Row]], way: str) -> str:
    """One direction: a column a code length."""
    each = [row for own in methods.values() for row in own.values()]
    primary = each[0].primary_metric(protocol)
    name = f"{way}/{primary}"
    columns = [_first(_METHOD), _first(_LEARNS_FROM)]
    for bits in sorted({row.bits for row in each}):
        best = best_mean([row for row in each if row.bits == bits], protocol, name)
        columns.append(_at(bits, _figure(f"{bits} bits", protocol, name, best, cites=True)))
    columns += [_first(_SEEDS), _first(_SECONDS)]
    direction = DIRECTIONS[way].lower()
    of = _count(len(methods), "hashing method")
    caption = f"{metric_title(primary)}, {direction}, of {of}{_where(results, protocol)}"
    return sortable(f"Hashing methods, {direction}", caption, columns, methods.values())


def _first(column: Column) -> Column:
    """A column of what the rows of all lengths share; of the shortest, where they do not."""

    def some(rows: Mapping[int, Row]) -> Row:
        return next(iter(rows.values()))

    return Column(
        column.title, lambda rows: column.cell(some(rows)), lambda rows: column.key(some(rows)), column.is_number
    )


def _at(bits: int, column: Column) -> Column:
    return Column(
        column.title,
        lambda rows: column.cell(rows[bits]) if bits in rows else UNKNOWN,
        lambda rows: column.key(rows[bits]) if bits in rows else None,
    )


def _figure(title: str, protocol: str, name: str, best: str | None, cites: bool = False) -> Column:
    """Mean and deviation of one metric, the best mean bold; where asked for, with the published figure in brackets."""

    def cell(row: Row) -> str:
        spread = row.metrics[protocol][name]
        text = decimals(spread.mean)
        if text == best:
            text = f"<b>{text}</b>"
        if spread.deviation is not None:
            text += f"<small> ± {decimals(spread.deviation)}</small>"
        if row.measured[protocol] != row.runs:
            text += f"<small> of {row.measured[protocol]} of {row.runs} runs</small>"
        given = row.published.under(protocol) if cites else {}
        return text + (f"<small> ({decimals(given[name])})</small>" if name in given else "")

    return Column(title, cell, lambda row: row.metrics[protocol][name].mean)


def _cited(protocol: str, primary: str) -> Column:
    """What a publication gives under the same protocol: of both directions, or of them together."""

    def cell(row: Row) -> str:
        figures = [
            ("" if metric == primary else f"{metric_title(metric)} ") + " / ".join(map(decimals, values))
            for metric, values in cited_figures(row.published.under(protocol)).items()
        ]
        return escape(", ".join(figures)) or UNKNOWN

    def key(row: Row) -> float | None:
        values = cited_figures(row.published.under(protocol)).get(primary)
        return mean(values) if values else None

    return Column("Published", cell, key)


_METHOD = Column("Method", lambda row: escape(row.title), lambda row: row.title.lower(), is_number=False)
_LEARNS_FROM = Column(
    "Learns from",
    lambda row: LEARNS_FROM[row.supervision],
    lambda row: LEARNS_FROM[row.supervision],
    is_number=False,
)
_SEEDS = Column("Seeds", seeds_cell, seeds_cell, is_number=False)
_SECONDS = Column("Seconds", lambda row: seconds_cell(row.seconds), lambda row: row.seconds)


def _heading(name: str, primary: str) -> str:
    way, _, metric = name.rpartition("/")
    if metric == primary:
        return DIRECTIONS[way] if way else "Mean"
    return f"{metric_title(metric)}, {DIRECTIONS[way].lower()}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def _where(results: Reproduction, protocol: str) -> str:
    return f" on the {results.table.split} split of {title_of(results.dataset)}, protocol {protocol}"


def _published(rows: Sequence[Row], protocol: str) -> str:
    """Where the published figures come from, and why those here are others."""
    cited = [row for row in rows if protocol in row.metrics and row.published.under(protocol)]
    if not cited:
        return ""
    sources = dict.fromkeys((row.title, row.published.source) for row in cited)
    reasons = dict.fromkeys((row.title, row.published.differs) for row in cited if row.published.differs)
    return f"{_listed('Published, not measured here:', sources)}{_listed('Why these are others:', reasons)}"


def _listed(lead: str, lines: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<li>{escape(title)}: {escape(text)}</li>" for title, text in lines)
    return f'<p class="cmr-counts">{lead}</p><ul class="cmr-sources">{items}</ul>' if items else ""


def about(results: Reproduction, protocol: str) -> str:
    """What was measured on what, what it took, how it is made again, and what is missing."""
    pairs = ", ".join(f"{count:,} {escape(split)}" for split, count in results.pairs.items())
    part = (
        "the whole data set"
        if results.complete
        else "<mark>a part of the data set: they compare with no others</mark>"
    )
    versions = "; ".join(f"{name} {', '.join(found)}" for name, found in sorted(_versions(results.table.rows).items()))
    ran = f"It took {duration(results.seconds)} on {results.machine}" + (f", with {versions}." if versions else ".")
    missing = _listed("Not measured:", [(one.title, one.reason) for one in results.not_measured])
    return (
        '<h2 class="cmr-part">How these figures were made</h2>'
        f'<p class="cmr-counts">Pairs: {pairs}; {part}. One command trains and measures all of it:</p>'
        f'<pre class="cmr-command"><code>{escape(results.command)}</code></pre>'
        f'<p class="cmr-counts">{escape(ran)} Seconds in the tables are those of one training.</p>'
        f'<p class="cmr-counts">{_download(results, protocol)}</p>{missing}'
    )


def _download(results: Reproduction, protocol: str) -> str:
    name, content = f"{results.dataset}-{protocol}.csv", quote(to_csv(results.table, protocol))
    return (
        f'<a download="{escape(name)}" href="data:text/csv;charset=utf-8,{content}">All metrics under this protocol, '
        "as CSV</a>; in Python, of every protocol, <code>cmr_hub.results.list_results()</code>."
    )


def _versions(rows: Sequence[Row]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        for package, versions in row.versions.items():
            found.setdefault(package, set()).update(versions)
    return {package: sorted(versions) for package, versions in found.items()}
