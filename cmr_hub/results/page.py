"""The pages of results, one per data set, and `RESULTS.md`, which leads to them; made of the stored files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmr_hub.data import info
from cmr_hub.utils.files import atomic_file

from .ablations import list_ablations
from .focus_curves import FocusCurve, focus_curves
from .leaderboard import list_scores
from .markdown import ablation_markdown, focus_markdown, measured_on, results_markdown
from .plots import draw, draw_focus, save_small
from .schema import AblationTable, Reproduction
from .store import list_results

PAGE, FOLDER = Path("RESULTS.md"), Path("docs", "results")

LEAD = """
Made by `cmr results` of what `cmr reproduce` measured: every method is trained by its recipe with several seeds on
the same splits, and each figure is the mean ± sample deviation over them. A figure means nothing without its
protocol; each page describes its protocols above the tables. The epoch is chosen on validation data, except under
protocols that say otherwise, as some papers' own code does: those flatter. A method may have several rows, one for
each choice of encoders; rows whose text encoder was trained on a data set's captions have tables of their own. To
repeat a page, run the command below its heading; with `--check` it compares what it measures with the stored figures.
Two machines agree to about 0.001, since CPUs round differently. The same figures are in `cmr_hub/results/`, behind
`cmr_hub.results.list_results()`, and in the Space under Results.

In the plots a method has one line per choice of encoders, and as codes one curve, that of its best encoders.
""".strip()


def write_results_page(folder: Path) -> Path:
    """Write a page and a plot per data set, and the page that leads to them, into a checkout.

    Args:
        folder: receives `RESULTS.md`, and in `docs/results/` `<dataset>.md`, `<dataset>.png` and, where checkpoints
            have a focus, `<dataset>-focus.png`.

    Returns:
        The path of `RESULTS.md`.

    Raises:
        CheckpointError: a file of results or ablations is damaged; nothing has been written then.
    """
    texts, curves = page_texts(), focus_curves(list_scores())
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for results in list_results():
        save_small(draw(results), folder / FOLDER / f"{results.dataset}.png")
        if own := _of_dataset(curves, results.dataset):
            save_small(draw_focus(own), folder / FOLDER / _focus_plot(results.dataset))
    for path, text in texts.items():
        with atomic_file(folder / path) as scratch:
            scratch.write_text(text, encoding="utf-8")
    return folder / PAGE


def page_texts() -> dict[Path, str]:
    """The pages, each under its path within a checkout.

    Raises:
        CheckpointError: a file of results or ablations is damaged.
    """
    ablations, curves, pages = list_ablations(), focus_curves(list_scores()), {}
    parts = ["# Results", LEAD]
    for results in list_results():
        page, plot = (FOLDER / f"{results.dataset}{suffix}" for suffix in (".md", ".png"))
        own = [table for table in ablations if table.dataset == results.dataset]
        pages[page] = dataset_page(results, plot.name, own, _of_dataset(curves, results.dataset))
        parts += [
            f"## {info(results.dataset).title}",
            f"{measured_on(results)} [All tables]({page.as_posix()}).",
            _image(results, plot.as_posix()),
        ]
    pages[PAGE] = "\n\n".join(parts)
    return {path: text.strip() + "\n" for path, text in pages.items()}


def dataset_page(
    results: Reproduction, plot: str, ablations: Sequence[AblationTable], curves: Sequence[FocusCurve] = ()
) -> str:
    """One data set: its heading, plot and tables, what the focus of queries changes, and what parts of methods do."""
    heading, rest = results_markdown(results).split("\n\n", 1)
    parts = [heading.removeprefix("#"), _image(results, plot), rest.strip()]
    if curves:
        image = f"![Scores over the focus of queries on {results.dataset}]({_focus_plot(results.dataset)})"
        parts += [focus_markdown(curves), image]
    return "\n\n".join([*parts, *map(ablation_markdown, ablations)])


def _of_dataset(curves: Sequence[FocusCurve], dataset: str) -> list[FocusCurve]:
    return [curve for curve in curves if curve.of.dataset == dataset]


def _focus_plot(dataset: str) -> str:
    return f"{dataset}-focus.png"


def _image(results: Reproduction, path: str) -> str:
    return f"![Mean and deviation of all methods on {results.dataset}]({path})"
