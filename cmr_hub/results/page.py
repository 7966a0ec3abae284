"""The page of results, `RESULTS.md` and its plots, made of the files of results and ablations alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmr_hub.utils.files import atomic_file

from .ablations import list_ablations
from .markdown import ablation_markdown, results_markdown
from .plots import draw, save_small
from .schema import AblationTable, Reproduction
from .store import list_results

PAGE, PLOTS = Path("RESULTS.md"), Path("docs", "results")

LEAD = """
Made by `cmr results` of what `cmr reproduce` measured: every method is trained by its
recipe with several seeds on the same splits, and each figure is the mean ± sample deviation over them. A figure means
nothing without its protocol; the line of each stands above the tables. The epoch is chosen on validation data, but for
protocols that say otherwise, as some papers' own code does: those flatter. To repeat a table, run the command beneath
its heading; with `--check` it compares what it measures with what stands here. Two machines agree to about 0.001,
since CPUs round differently. The same figures are in `cmr_hub/results/`, behind `cmr_hub.results.list_results()`, and
in the Space under Results.
""".strip()


def write_results_page(folder: Path) -> Path:
    """Write the page and a plot a data set into a checkout.

    Args:
        folder: receives `RESULTS.md` and `docs/results/<dataset>.png`.

    Returns:
        The page's path.

    Raises:
        CheckpointError: a file of results or ablations is damaged; nothing has been written then.
    """
    known, ablations = list_results(), list_ablations()
    parts = ["# Results", LEAD]
    for results in known:
        plot = PLOTS / f"{results.dataset}.png"
        (folder / PLOTS).mkdir(parents=True, exist_ok=True)
        save_small(draw(results), folder / plot)
        parts.append(section(results, plot, [table for table in ablations if table.dataset == results.dataset]))
    with atomic_file(folder / PAGE) as scratch:
        scratch.write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")
    return folder / PAGE


def section(results: Reproduction, plot: Path, ablations: Sequence[AblationTable]) -> str:
    """One data set: its heading, plot and tables, and what parts of methods are worth on it."""
    heading, rest = results_markdown(results).split("\n\n", 1)
    alt = f"Mean and deviation of all methods on {results.dataset}"
    return "\n\n".join([heading, f"![{alt}]({plot.as_posix()})", rest.strip(), *map(ablation_markdown, ablations)])
