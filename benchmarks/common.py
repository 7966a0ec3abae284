"""What every benchmark here needs: the machine it ran on, a table for people, JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cmr_hub.utils.files import atomic_file


def best_time(function: Callable[[], Any], repeats: int = 1) -> float:
    """Seconds of the fastest of some calls: what the others took longer is other programs' doing."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def report(rows: Sequence[dict[str, Any]], json_path: str | os.PathLike | None = None) -> None:
    """Print rows of the same keys as a table; write them to a file with the machine, if one is named."""
    columns = list(rows[0])
    cells = [columns] + [
        [f"{row[c]:,.4g}" if isinstance(row[c], float) else str(row[c]) for c in columns] for row in rows
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if json_path is not None:
        machine = {"python": platform.python_version(), "platform": platform.platform(), "cpus": os.cpu_count()}
        with atomic_file(json_path) as scratch:
            Path(scratch).write_text(json.dumps({"machine": machine, "rows": list(rows)}, indent=2) + "\n")
