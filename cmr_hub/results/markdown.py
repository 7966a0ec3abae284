"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from cmr_hub.evaluation import DIRECTION_TITLES, DIRECTIONS, MeanStd, decimals
from cmr_hub.utils.markdown import markdown_table

from .cells import (
    AVERAGES,
    SHORT_TITLES,
    UNKNOWN,
    best_mean,
    cited_figures,
    duration,
    encoder_cells,
    has_column,
    metric_title,
    published_cell,
    seconds_cell,
    seeds_cell,
    value_cell,
    without_rows,
)
from .focus_curves import FocusCurve
from .ranking import best_first, by_code_length, by_reason, differing_encoders
from .schema import AblationTable, Reproduction, Row, Table

SAW_CAPTIONS = "With an encoder that was trained on these captions"
LEGEND = (
    "Mean ± sample deviation over the seeds; the best mean of each column is bold. Seconds are those of training "
    "alone, on the machine that each run had."
)


def results_markdown(results: Reproduction) -> str:
    """The tables of one data set, with what was measured, how long that took, and what is missing."""
    made = f"Made by `{results.command}` in {duration(results.seconds)} on {results.machine}."
    facts = [f"{measured_on(results)} {made}"]
    if results.not_measured:
        missing = [f"- {titles}: {reason}" for titles, reason in without_rows(results)]
        facts += ["Not measured:", "\n".join(missing)]
    heading, rest = table_markdown(results.table).split("\n\n", 1)
    return "\n\n".join([heading, *facts, "Protocols:", rest])  # without a word between them, two lists are one


def measured_on(results: Reproduction) -> str:
    """How many pairs each split has, and whether these are all."""
    pairs = ", ".join(f"{count:,} {split}" for split, count in results.pairs.items())
    part = "the whole data set" if results.complete else "**a part of the data set**: figures compare with no other's"
    return f"Pairs: {pairs} ({part})."


def table_markdown(table: Table) -> str:
    """The tables of one data set with their heading, the protocols above them and notes below them.

    Real-valued methods share one table for the protocols that all of them were measured under; a protocol that only
    some were measured under has a table of its own. So has each protocol of hashing methods, with one column per code
    length. Rows whose encoder was trained on the data set's captions have tables of their own, after the others.
    """
    protocols = "\n".join(f"- {description}" for description in table.protocols.values())
    parts = [f"## {table.dataset}, {table.split} split", protocols]
    for reason, rows in by_reason(table.rows, table.dataset).items():
        if reason:
            parts += [f"### {SAW_CAPTIONS}", f"{reason} These figures do not compare with those above."]
        parts += _tables(table, rows)
    parts += [*_reasons(table), LEGEND]
    if table.versions:
        listed = "; ".join(f"{package} {', '.join(found)}" for package, found in table.versions.items())
        parts.append(f"The runs had different versions of libraries: {listed}.")
    return "\n\n".join(parts) + "\n"


def focus_markdown(curves: Sequence[FocusCurve]) -> str:
    """What bundled checkpoints score at each focus of the queries."""
    steps = sorted({focus for curve in curves for focus in curve.scores})
    lines = []
    for curve in curves:
        means = [curve.scores[step].measured.mean if step in curve.scores else None for step in steps]
        figures = [UNKNOWN if mean is None else decimals(mean) for mean in means]
        lines.append([f"`{curve.of.checkpoint}`", metric_title(curve.of.metric), curve.protocol.name, *figures])
    head = ["checkpoint", "metric", "protocol", *(f"focus {step:g}" for step in steps)]
    lead = (
        "What one checkpoint scores, as the mean of both directions, where queries ask for the same kind of thing "
        "(focus 0), for this very thing (1), or between. `cmr evaluate --focus 0 0.25 0.5 0.75 1 --record` measures "
        "it."
    )
    return "\n\n".join(["### Focus of queries", lead, markdown_table(head, lines)])


def _tables(table: Table, rows: Sequence[Row]) -> list[str]:
    """The tables of rows that compare with each other, each with its heading where it needs one."""
    floats = [row for row in rows if row.bits is None]
    codes = [row for row in rows if row.bits is not None]
    shared = [name for name in table.protocols if floats and all(name in row.metrics for row in floats)]
    parts = [_float_table(table, floats, shared)] if shared else []
    for protocol in table.protocols:
        if own := [row for row in floats if protocol in row.metrics and protocol not in shared]:
            parts += [f"### Under {protocol}", _float_table(table, own, [protocol])]
    return parts + [
        code_table(own, name) for name in table.protocols if (own := [r for r in codes if name in r.metrics])
    ]


def _float_table(table: Table, rows: Sequence[Row], protocols: Sequence[str]) -> str:
    """Some of the rows under some of the protocols, as one table."""
    columns = _columns(table, protocols)
    best = {column: best_mean(rows, *column) for column in columns}
    published = {id(row): _published(row, protocols) for row in rows}
    with_published = any(published.values())
    encoded = differing_encoders(rows)
    head = ["method", *encoded, "supervision", *columns.values(), "seeds", "seconds"] + ["published"] * with_published
    lines = []
    for row in best_first(rows, protocols[0]):
        cells = [row.title, *encoder_cells(row, encoded), row.supervision]
        cells += [value_cell(row, *column, best[column]) for column in columns]
        cells += [seeds_cell(row), seconds_cell(row.seconds)]
        lines.append(cells + [published[id(row)] or UNKNOWN] * with_published)
    return markdown_table(head, lines)


def _columns(table: Table, protocols: Sequence[str]) -> dict[tuple[str, str], str]:
    """(protocol, metric) -> heading; it names the protocol where two have the same metric."""
    names = [name for protocol in protocols for name in table.columns[protocol]]
    columns = {}
    for protocol in protocols:
        for name in filter(has_column, table.columns[protocol]):
            direction, _, plain = name.rpartition("/")
            under = f"{protocol} " if names.count(name) > 1 else ""
            of = f" {SHORT_TITLES[direction]}" if direction else AVERAGES[plain]
            columns[protocol, name] = f"{under}{metric_title(plain)}{of}"
    return columns


def _published(row: Row, protocols: Sequence[str]) -> str:
    found = next((given for name in protocols if (given := row.published.under(name))), None)
    if not found:
        return ""
    cited = cited_figures(found).items()
    figures = ", ".join(f"{metric_title(metric)} {' / '.join(map(decimals, values))}" for metric, values in cited)
    return f"{row.published.source}: {figures}"


def _reasons(table: Table) -> list[str]:
    """Why figures differ from the published ones, method by method, as one part; maybe none."""
    said = {
        row.title: row.published.differs
        for row in table.rows
        if row.published.protocol in row.metrics and row.published.differs
    }
    lines = [f"- {title}: {reason}" for title, reason in said.items()]
    return ["\n".join(["Why figures are not those published:", "", *lines])] if said else []


def code_table(rows: Sequence[Row], protocol: str) -> str:
    """One table of the primary metric of hashing methods under one protocol, as papers print them.

    Args:
        rows: of hashing methods, one per method, encoders and code length, all measured under `protocol`.
        protocol: name of the protocol.

    Returns:
        Heading, table and, where publications give figures, where these come from. The table has one block per
        direction, in it one row per method and encoders, best first by the average over both directions, and one
        column per code length.
    """
    metric = rows[0].primary_metric(protocol)
    lengths = sorted({row.bits for row in rows if row.bits is not None})
    methods = by_code_length(rows, protocol)
    encoded = differing_encoders(rows)
    lines = []
    for direction in DIRECTIONS:
        name = f"{direction}/{metric}"
        best = {
            bits: best_mean([own[bits] for own in methods.values() if bits in own], protocol, name) for bits in lengths
        }
        for own in methods.values():
            values = [
                value_cell(own[bits], protocol, name, best[bits]) + published_cell(own[bits], protocol, name)
                if bits in own
                else UNKNOWN
                for bits in lengths
            ]
            some = next(iter(own.values()))
            seconds = seconds_cell(mean(row.seconds for row in own.values()))
            of = [some.title, *encoder_cells(some, encoded), some.supervision]
            lines.append([SHORT_TITLES[direction], *of, *values, seeds_cell(some), seconds])
    head = ["task", "method", *encoded, "supervision", *(f"{bits} bits" for bits in lengths), "seeds", "seconds"]
    sources = {row.published.source for row in rows if f"image_to_text/{metric}" in row.published.under(protocol)}
    notes = [f"In brackets the figures published in {', '.join(sorted(sources))}."] if sources else []
    heading = f"### Codes: {metric_title(metric)} under {protocol}"
    return "\n\n".join([heading, markdown_table(head, lines), *notes])


def ablation_markdown(table: AblationTable) -> str:
    """A table of variants, with its protocol, its sources and what could not be measured below it."""
    primary, has_published = table.primary_metric, any(row.published for row in table.rows)
    titles = {**{f"{way}/{primary}": DIRECTION_TITLES[way] for way in DIRECTIONS}, primary: "average"}
    head = ["", *titles.values(), *(f"published {title}" for title in titles.values() if has_published)]
    lines = []
    for row in table.rows:
        cells = [str(MeanStd.of(row.values[name])) if row.values else UNKNOWN for name in titles]
        if has_published:
            cells += [decimals(row.published[name]) if name in row.published else UNKNOWN for name in titles]
        lines.append([row.name, *cells])
    notes = [f"Test split, seeds {', '.join(map(str, table.seeds))}; {table.protocol_description}"]
    if has_published:
        elsewhere = table.published.dataset or table.dataset
        note = "" if elsewhere == table.dataset else f", measured on {elsewhere} and not on {table.dataset}"
        notes.append(f"Published: {table.published.source or 'source not given'}{note}")
        notes += [f"Why the figures differ: {table.published.differs}"] if table.published.differs else []
    notes += [f"{row.name} cannot be measured here: {row.reason}" for row in table.rows if row.reason]
    heading = f"### {table.title}: {table.method} on {table.dataset}"
    return "\n\n".join([heading, markdown_table(head, lines), "\n".join(notes)])
