"""The files of results: one JSON file per data set in this folder."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

import msgspec

from cmr_hub.errors import CheckpointError
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.files import atomic_file

from .ranking import in_order
from .schema import SCHEMA_VERSION, NotMeasured, Reproduction, Row, RowKey

FOLDER = Path(__file__).parent

AnyRecord = TypeVar("AnyRecord")


def list_results() -> list[Reproduction]:
    """The results that come with the package, one per data set.

    Raises:
        CheckpointError: a file is damaged; names it.

    Example:
    ```python
    >>> from cmr_hub.results import list_results
    >>> wiki = next(results for results in list_results() if results.dataset == "wiki")
    >>> wiki.pairs, wiki.complete
    ({'train': 2173, 'test': 693}, True)
    ```
    """
    return [read_results(path) for path in sorted(FOLDER.glob("*.json"))]


def read_results(path: Path) -> Reproduction:
    """Read one file that `reproduce` wrote.

    Raises:
        CheckpointError: the file is missing, does not follow the schema, or is of a newer version of it.
    """
    content = read_json(path)
    version = content.get("schema_version", 1)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} is of version {version} of the schema of results, and this cmr_hub reads up to {SCHEMA_VERSION}: "
            "upgrade cmr_hub."
        )
    return convert(content, Reproduction, path)


def convert(content: object, kind: type[AnyRecord], path: str | Path) -> AnyRecord:
    """JSON values as a record.

    Args:
        content: the values.
        kind: a record class, or a list of one.
        path: the file that they come from, for the error.

    Raises:
        CheckpointError: a field is missing, unknown or of another type; names file and field.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path} is damaged, or of another version of cmr_hub: {error}.") from error


def results_path(dataset: str, folder: Path = FOLDER) -> Path:
    """The file with the results on a data set."""
    return folder / f"{dataset}.json"


def stored_results(dataset: str) -> Reproduction | None:
    """The results on a data set that come with the package; None where there are none."""
    path = results_path(dataset)
    return read_results(path) if path.exists() else None


def write_results(results: Reproduction, path: Path) -> None:
    """Write the JSON file that [`read_results`] reads, without the folders of this machine."""
    rows = [msgspec.structs.replace(row, folders=[]) for row in results.table.rows]
    table = msgspec.structs.replace(results.table, rows=rows)
    content = msgspec.structs.replace(results, table=table, schema_version=SCHEMA_VERSION).to_dict()
    with atomic_file(path) as scratch:
        scratch.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def record(results: Reproduction, planned: Collection[RowKey] = ()) -> None:
    """Put results into the repository, in place of earlier ones of the same methods, encoders and code lengths.

    Args:
        results: measured now.
        planned: the keys of all rows that the command of `results` makes, measured now or not.
    """
    write_results(merged(results, stored_results(results.dataset), planned), results_path(results.dataset))


def _is_settled(missing: NotMeasured, results: Reproduction) -> bool:
    """Whether results have a row, or another reason for none, of a method with the encoders that it had none with."""

    def has(row: Row) -> bool:
        found = {modality: str(encoder) for modality, encoder in row.encoders.items()}
        return row.method == missing.method and missing.encoders.items() <= found.items()

    again = any(missing.is_of(one.method, one.encoders) for one in results.not_measured)
    return again or any(map(has, results.table.rows))


def merged(results: Reproduction, earlier: Reproduction | None, planned: Collection[RowKey] = ()) -> Reproduction:
    """Add the rows of earlier results, of what has not been measured now.

    A row gives way to one of the same method, encoders and code length. Where another part of the data set was
    measured, no earlier row is kept: the figures do not compare. Command and machine are those of now where the
    command makes all rows, which then took the time of both; otherwise those of the larger of both.

    Args:
        results: measured now.
        earlier: the results so far.
        planned: the keys of all rows that the command of `results` makes, measured now or not.
    """
    if earlier is None or (earlier.pairs, earlier.table.split) != (results.pairs, results.table.split):
        return results
    new = {row.key for row in results.table.rows}
    rows = [row for row in earlier.table.rows if row.key not in new]
    table = msgspec.structs.replace(
        results.table,
        # As it is defined now, where both know a protocol.
        protocols={**earlier.table.protocols, **results.table.protocols},
        columns={**earlier.table.columns, **results.table.columns},
        rows=[*results.table.rows, *rows],
    )
    others = [one for one in earlier.not_measured if not _is_settled(one, results)]
    larger = earlier if len(earlier.table.rows) > len(results.table.rows) else results
    if rows and all(row.key in planned for row in rows):
        took = (earlier.seconds, results.seconds)
        seconds = max(took) if earlier.command == results.command else sum(took)  # recorded again, it is counted
        larger = msgspec.structs.replace(results, seconds=round(seconds, 1))
    return msgspec.structs.replace(larger, table=in_order(table), not_measured=[*results.not_measured, *others])
