"""The files of ablations: `ablations-<dataset>.json` in a method's folder, as `ablate --json` writes them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cmr_hub.errors import CheckpointError
from cmr_hub.utils.checkpoint_files import MAX_JSON_BYTES, read_bytes

from .schema import AblationTable
from .store import convert


def list_ablations() -> list[AblationTable]:
    """The ablations that come with the methods, those of which something was measured.

    Raises:
        CheckpointError: a file is damaged; names it.

    Example:
    ```python
    >>> {table.method for table in list_ablations() if table.title == "Loss terms"}
    {'acmr'}
    ```
    """
    paths = sorted((Path(__file__).parents[1] / "methods").glob("*/ablations-*.json"))
    return [table for path in paths for table in read_ablations(path) if any(row.values for row in table.rows)]


def read_ablations(path: Path) -> list[AblationTable]:
    """The tables in one file.

    Raises:
        CheckpointError: the file is damaged or does not follow the schema; names it and the field.
    """
    try:
        content = msgspec.json.decode(read_bytes(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is no JSON ({error}).") from error
    return convert(content, list[AblationTable], path)
