"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import tabulate


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned.

    Args:
        header: the heading of each column.
        rows: the cells, as many as there are headings; printed as they are, but for `|`, which is escaped.

    Example:
    ```python
    >>> print(markdown_table(["method", "mAP"], [["CCA", ".480"]]))
    | method   | mAP   |
    |----------|-------|
    | CCA      | .480  |
    ```
    """
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return tabulate(escaped, headers=list(header), tablefmt="github", disable_numparse=True)
