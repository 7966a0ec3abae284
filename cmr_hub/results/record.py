"""The results that come with the repository: written, and compared with what was measured anew."""

from __future__ import annotations

import json
from pathlib import Path

from cmr_hub.errors import InputError, TrainingError
from cmr_hub.utils.files import atomic_file

from . import Reproduction, Row, read_results, results_path


def stored_results(dataset: str) -> Reproduction | None:
    """What the repository has of a data set; maybe nothing."""
    path = results_path(dataset)
    return read_results(path) if path.exists() else None


def write_results(results: Reproduction, path: Path) -> None:
    """Write the JSON that `cmr_hub.results.read_results` reads."""
    with atomic_file(path) as scratch:
        scratch.write_text(json.dumps(results.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def record(results: Reproduction) -> None:
    """Put results into the repository, in the place of earlier ones of the same methods and code lengths."""
    write_results(results.merged(stored_results(results.dataset)), results_path(results.dataset))


def compare(results: Reproduction, stored: Reproduction | None) -> str:
    """Hold every figure against the one in the repository.

    Returns:
        How many rows and figures are the same.

    Raises:
        InputError: the repository has no results to compare with, or of other pairs.
        TrainingError: a figure is another one; names it, and the versions of libraries where these differ.
    """
    if stored is None or stored.pairs != results.pairs:
        had = "none" if stored is None else f"some of {stored.pairs}"
        raise InputError(f"The repository has {had}, where {results.dataset} was measured on {results.pairs}.")
    kept = {(row.method, row.title, row.bits, tuple(row.seeds)): row for row in stored.table.rows}
    pairs = [
        (row, kept[key])
        for row in results.table.rows
        if (key := (row.method, row.title, row.bits, tuple(row.seeds))) in kept
    ]
    if len(pairs) < len(results.table.rows):
        raise InputError("The repository has no results of some of these methods, code lengths or numbers of seeds.")
    lines = [line for new, old in pairs for line in differences(new, old)]
    if lines:
        raise TrainingError("\n".join([f"{len(lines)} figures are not those of the repository:", *lines]))
    figures = sum(len(metrics) for row, _ in pairs for metrics in row.metrics.values())
    return f"All {figures} figures of {len(pairs)} rows are those of the repository."


def differences(new: Row, old: Row) -> list[str]:
    """A line for each figure of a row that is another one."""
    what = new.title if new.bits is None else f"{new.title}, {new.bits} bits"
    versions = "" if new.versions == old.versions else f" (with {new.versions} instead of {old.versions})"
    return [
        f"- {what}, {protocol}, {name}: {spread} instead of {old.metrics.get(protocol, {}).get(name)}{versions}"
        for protocol, spreads in new.metrics.items()
        for name, spread in spreads.items()
        if old.metrics.get(protocol, {}).get(name) != spread
    ]
