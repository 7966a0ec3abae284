"""A table under one protocol as comma-separated values, for other programs."""

from __future__ import annotations

import csv
import io

from .ranking import best_first, saw_captions
from .schema import MODALITIES, Table


def to_csv(table: Table, protocol: str) -> str:
    """One line per row, best first, with every metric of the protocol; a missing value is left empty.

    Args:
        table: the rows.
        protocol: name of one of its protocols.
    """
    names = table.columns[protocol]
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    figures = [f"{name} {part}" for name in names for part in ("mean", "deviation")]
    about = ["dataset", "protocol", "method", "title", "supervision", *MODALITIES, "saw captions", "bits"]
    lines.writerow([*about, "seeds", "seconds", *figures])
    for row in best_first(table.rows, protocol):
        spreads = [row.metrics[protocol][name] for name in names]
        lines.writerow(
            [table.dataset, protocol, row.method, row.title, row.supervision]
            + [
                *(row.encoders.get(modality) for modality in MODALITIES),
                saw_captions(row.encoders, table.dataset),
                row.bits,
            ]
            + [" ".join(map(str, row.seeds)), row.seconds]
            + [value for spread in spreads for value in (spread.mean, spread.deviation)]
        )
    return file.getvalue()
