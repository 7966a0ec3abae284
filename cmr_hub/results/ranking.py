"""Which rows of a table are compared under a protocol, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import cast

import msgspec

from cmr_hub.encoders import encoder_class
from cmr_hub.encoders.spec import EncoderSpec
from cmr_hub.errors import CMRError

from .schema import MODALITIES, Row, Table


def best_first(rows: Sequence[Row], protocol: str) -> list[Row]:
    """The rows that were measured under a protocol, by its primary metric; equal ones by title.

    Rows of one title, which differ in their encoders or code lengths, stand next to each other where the best of them
    stands.
    """
    measured = sorted(
        (row for row in rows if protocol in row.metrics), key=lambda row: (-row.primary_mean(protocol), row.title)
    )
    place = {title: number for number, title in enumerate(dict.fromkeys(row.title for row in measured))}
    return sorted(measured, key=lambda row: place[row.title])


def real_valued(rows: Sequence[Row], protocol: str) -> list[Row]:
    """The rows of real-valued methods, best first."""
    return best_first([row for row in rows if row.bits is None], protocol)


def by_code_length(rows: Sequence[Row], protocol: str) -> dict[str, dict[int, Row]]:
    """The rows of hashing methods: label -> code length -> row; the best method on average over its lengths first.

    Those of one method with several encoders stand next to each other. A label is a title, with the encoders where a
    method has several; see [`row_label`].
    """
    own = [row for row in rows if row.bits is not None and protocol in row.metrics]
    methods: dict[str, dict[int, Row]] = {}
    for row in own:
        methods.setdefault(row_label(row, own), {})[cast(int, row.bits)] = row

    def order(label: str) -> tuple[float, str]:
        return (-mean(row.primary_mean(protocol) for row in methods[label].values()), label)

    labels = sorted(methods, key=order)
    titles = {label: next(iter(methods[label].values())).title for label in labels}
    place = {title: number for number, title in enumerate(dict.fromkeys(titles.values()))}
    return {
        label: dict(sorted(methods[label].items())) for label in sorted(labels, key=lambda one: place[titles[one]])
    }


def best_of_each(methods: Mapping[str, Mapping[int, Row]]) -> dict[str, Mapping[int, Row]]:
    """Of what [`by_code_length`] gives, each method with its best encoders alone."""
    titles: dict[str, str] = {}
    for label, own in methods.items():
        titles.setdefault(next(iter(own.values())).title, label)
    return {label: methods[label] for label in titles.values()}


def row_label(row: Row, among: Sequence[Row]) -> str:
    """The row's title, with its encoders as far as other rows of this title have others: "CCA, minilm"."""
    same = [other.encoders for other in among if other.title == row.title]
    own = {
        modality: encoder
        for modality, encoder in row.encoders.items()
        if any(encoders.get(modality) != encoder for encoders in same)
    }
    return ", ".join([row.title, *map(str, own.values())])


def differing_encoders(rows: Sequence[Row]) -> list[str]:
    """The modalities in which not all rows have the same encoder."""
    return [name for name in MODALITIES if any(row.encoders.get(name) != rows[0].encoders.get(name) for row in rows)]


def saw_captions(encoders: Mapping[str, EncoderSpec], dataset: str) -> str:
    """Why figures flatter: an encoder was trained on this data set's captions. Empty where none was.

    Args:
        encoders: modality -> encoder.
        dataset: name of the data set.
    """
    for modality, encoder in encoders.items():
        try:
            known = encoder_class(modality, encoder.name)
        except CMRError:  # of a package that is not installed here
            continue
        if reason := known.trained_on(encoder.name).get(dataset):
            return reason
    return ""


def by_reason(rows: Sequence[Row], dataset: str) -> dict[str, list[Row]]:
    """Rows that compare with each other, by the reason why others do not.

    Returns:
        "" -> the rows whose encoders were not trained on the captions, if any; then reason -> the others.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(saw_captions(row.encoders, dataset), []).append(row)
    return dict(sorted(groups.items()))


def in_order(table: Table) -> Table:
    """The table with its rows best first by the first protocol; those that were not measured under it last."""
    first = next(iter(table.protocols))
    others = sorted((row for row in table.rows if first not in row.metrics), key=lambda row: row.title)
    return msgspec.structs.replace(table, rows=best_first(table.rows, first) + others)
