"""Results that nobody measured, for tests of what is made of such."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cmr_hub.evaluation import MeanStd, get_protocol
from cmr_hub.methods import METHODS
from cmr_hub.results import NotMeasured, Published, Reproduction, Row, Table
from cmr_hub.results.ranking import in_order

PAPER, CLEAN, CODES = "dscmr-test-selected", "dscmr", "dscmr-tie-aware"
CITED = {"image_to_text/map": 0.25, "text_to_image/map": 0.2}
DIFFERS = Published("Someone <2019>", "other <features>", metrics=CITED)


def small_row(
    method: str,
    mean: float,
    deviation: float | None = None,
    *,
    protocols: tuple[str, ...] = (CLEAN,),
    seeds: tuple[int, ...] = (0, 1, 2),
    text: str | None = None,
    **changes: Any,
) -> Row:
    """A row whose directions lie .1 to either side of the mean, the same under each protocol.

    Args:
        method, mean, deviation, protocols, seeds: as the row has them.
        text: the text encoder; by default the row names none.
        changes: other fields of the row.
    """
    names = {"image_to_text/": mean + 0.1, "text_to_image/": mean - 0.1, "": mean}
    metrics = {
        protocol: {
            way + get_protocol(protocol).primary_metric: MeanStd(value, deviation) for way, value in names.items()
        }
        for protocol in protocols
    }
    runs = len(seeds) or 1
    row = Row(
        method=method,
        title=METHODS[method].title,
        supervision=METHODS[method].supervision,
        bits=None,
        seeds=list(seeds),
        runs=runs,
        seconds=12.34,
        metrics=metrics,
        measured=dict.fromkeys(protocols, runs),
        published=Published(),
        settings={"image": "precomputed", **({"text": text} if text else {})},
        versions={"torch": ["2.15.0"]},
        folders=[],
    )
    return replace(row, **changes)


def small_results(dataset: str = "wiki", rows: list[Row] | None = None, **changes: Any) -> Reproduction:
    """Two real-valued methods, one also as its paper chooses the epoch, and two hashing methods of two lengths."""
    if rows is None:
        rows = [
            small_row("dscmr", 0.5, 0.02, protocols=(CLEAN, PAPER), published=DIFFERS),
            small_row("cca", 0.3, seeds=(), published=Published("Someone else", metrics={"map": 0.28})),
            *(
                small_row(method, mean, deviation, protocols=(CODES,), seeds=seeds, bits=bits)
                for method, seeds, deviation, means in (
                    ("klsh", (0, 1), 0.01, {16: 0.2, 64: 0.4}),
                    ("sh", (), None, {16: 0.25, 64: 0.15}),
                )
                for bits, mean in means.items()
            ),
        ]
    protocols = list(dict.fromkeys(protocol for row in rows for protocol in row.metrics))
    columns = {
        protocol: next(list(row.metrics[protocol]) for row in rows if protocol in row.metrics)
        for protocol in protocols
    }
    table = Table(dataset, "test", {name: get_protocol(name).describe() for name in protocols}, columns, rows)
    results = Reproduction(
        table=in_order(table),
        pairs={"train": 2173, "test": 693},
        complete=True,
        command=f"cmr reproduce --dataset {dataset}",
        seconds=11_100.0,
        machine="2 cores, x86_64",
        not_measured=[NotMeasured("dan", "DAN", "it eats <regions>")],
    )
    return replace(results, **changes)
