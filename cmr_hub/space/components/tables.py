"""Tables of figures as HTML: they scroll within themselves, and their headings sort the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

# A heading sorts the rows by its column, the greatest number or the first word first, and then the other way round.
SORTING = """
element.addEventListener('click', (event) => {
  const heading = event.target.closest('.cmr-board th[scope=col]');
  if (!heading || !event.target.closest('button')) return;
  const isNumber = heading.classList.contains('cmr-number');
  const first = isNumber ? 'descending' : 'ascending';
  const other = isNumber ? 'ascending' : 'descending';
  const order = heading.getAttribute('aria-sort') === first ? other : first;
  for (const each of heading.parentElement.children) each.removeAttribute('aria-sort');
  heading.setAttribute('aria-sort', order);
  const body = heading.closest('table').tBodies[0];
  const key = (row) => row.cells[heading.cellIndex].dataset.key;
  const rows = [...body.rows].sort((one, two) => {
    const [a, b] = [key(one), key(two)];
    if (a === '' || b === '') return (a === '') - (b === '');
    const compared = isNumber ? a - b : a.localeCompare(b);
    return order === 'ascending' ? compared : -compared;
  });
  body.append(...rows);
});
"""


@dataclass(frozen=True)
class Column:
    """A column of a table that can be sorted.

    Attributes:
        title: its heading.
        cell: HTML of a row's cell.
        key: what rows are sorted by; None where a row has nothing to be sorted by, which stands last.
        is_number: whether the greatest comes first, and the digits stand below one another.
    """

    title: str
    cell: Callable[[Any], str]
    key: Callable[[Any], str | float | None]
    is_number: bool = True


def sortable(label: str, caption: str, columns: Sequence[Column], rows: Iterable[Any], sorted_by: str = "") -> str:
    """A table that [`SORTING`] sorts; the first column names the rows.

    Args:
        label: what the table is, for those who do not see it.
        caption: what its figures are.
        columns: from the left.
        rows: what the columns' functions are given, from the top.
        sorted_by: title of the column by which they stand, the greatest first.
    """
    headings = "".join(_heading(column, column.title == sorted_by) for column in columns)
    body = "".join(
        f"<tr>{''.join(_cell(column, row, column is columns[0]) for column in columns)}</tr>" for row in rows
    )
    return scrolling(label, caption, headings, body, "cmr-board")


def _heading(column: Column, is_sorted: bool) -> str:
    sort = ' aria-sort="descending"' if is_sorted else ""
    number = ' class="cmr-number"' if column.is_number else ""
    return f'<th scope="col"{sort}{number}><button type="button">{escape(column.title)}</button></th>'


def _cell(column: Column, row: Any, is_name: bool) -> str:
    key = column.key(row)
    tag = 'th scope="row"' if is_name else "td"
    number = ' class="cmr-number"' if column.is_number else ""
    return f'<{tag}{number} data-key="{"" if key is None else escape(str(key))}">{column.cell(row)}</{tag.split()[0]}>'


def scrolling(label: str, caption: str, headings: str, rows: str, kind: str) -> str:
    """A table that scrolls within itself where the window is narrow, by touch and by keyboard."""
    return (
        f'<div class="cmr-scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
        f'<table class="cmr-table {kind}"><caption><span>{escape(caption)}</span></caption>'
        f"<thead><tr>{headings}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
