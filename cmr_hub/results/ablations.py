"""What the parts of a method are worth: variants that a paper compares, measured here beside the published figures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmr_hub.errors import CheckpointError
from cmr_hub.evaluation import MeanStd, Protocol, decimals, get_protocol

DIRECTIONS = {"image → text": "image_to_text/", "text → image": "text_to_image/", "average": ""}
UNKNOWN = "–"


@dataclass(frozen=True)
class AblationRow:
    """One variant.

    Attributes:
        name: as the recipe has it.
        values: metric -> its value for each seed; empty where it cannot be measured.
        published: metric -> published value.
        reason: why it cannot be measured.
    """

    name: str
    values: Mapping[str, Sequence[float]]
    published: Mapping[str, float]
    reason: str = ""


@dataclass(frozen=True)
class AblationTable:
    """Variants of a method, each measured with the same seeds.

    Attributes:
        title: what is varied.
        method, dataset, seeds, protocol: what was trained on what, and how the figures are defined.
        rows: the variants, in the recipe's order.
        published: `source` and `dataset` of the published figures, and why ours are others, `differs`.
    """

    title: str
    method: str
    dataset: str
    seeds: Sequence[int]
    protocol: Protocol
    rows: Sequence[AblationRow]
    published: Mapping[str, str]

    def markdown(self) -> str:
        """The table, with its protocol, its sources and what could not be measured beneath it."""
        primary, has_published = self.protocol.primary_metric, any(row.published for row in self.rows)
        columns = list(DIRECTIONS) + [f"published {name}" for name in DIRECTIONS if has_published]
        lines = [f"### {self.title}: {self.method} on {self.dataset}", ""]
        lines += ["| " + " | ".join(["", *columns]) + " |", "|---" * (1 + len(columns)) + "|"]
        for row in self.rows:
            metrics = [prefix + primary for prefix in DIRECTIONS.values()]
            cells = [str(MeanStd.of(row.values[name])) if row.values else UNKNOWN for name in metrics]
            if has_published:
                cells += [decimals(row.published[name]) if name in row.published else UNKNOWN for name in metrics]
            lines.append("| " + " | ".join([row.name, *cells]) + " |")
        lines += ["", f"Test split, seeds {', '.join(map(str, self.seeds))}; {self.protocol.describe()}"]
        if has_published:
            elsewhere = self.published.get("dataset", self.dataset)
            note = "" if elsewhere == self.dataset else f", measured on {elsewhere} and not on {self.dataset}"
            lines.append(f"Published: {self.published.get('source', 'source not given')}{note}")
            lines += [f"Why the figures differ: {self.published['differs']}"] if "differs" in self.published else []
        lines += [f"{row.name} cannot be measured here: {row.reason}" for row in self.rows if row.reason]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values; "protocol_description" is the protocol's line."""
        return {
            **dataclasses.asdict(self),
            "protocol": self.protocol.name,
            "protocol_description": self.protocol.describe(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> AblationTable:
        """What [`to_dict`] gave.

        Raises:
            UnknownNameError: its protocol is no longer known.
            KeyError, TypeError: it is of another version of cmr_hub.
        """
        fields = {field.name: content[field.name] for field in dataclasses.fields(cls)}
        rows = [AblationRow(**row) for row in content["rows"]]
        return cls(**{**fields, "protocol": get_protocol(content["protocol"]), "rows": rows})


def list_ablations() -> list[AblationTable]:
    """The ablations that come with the methods, those of which something was measured.

    They are `ablations-<dataset>.json` in a method's folder, as `python -m training ablate --json` writes them.

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
    """The tables in one file of `python -m training ablate --json`.

    Raises:
        CheckpointError: the file is damaged or of another version.
    """
    try:
        return [AblationTable.from_dict(table) for table in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged, or of another version of cmr_hub ({error!r}).") from error
