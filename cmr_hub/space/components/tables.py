"""Tables of figures: they scroll within themselves, and their headings may sort the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from .rendering import render

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
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says.
        key: what rows are sorted by; None where a row has nothing to be sorted by, which stands last.
        is_best: whether the text is bold.
        is_code: whether the text is code.
        footnote: number of the source below the table.
        notes: short remarks after the text.
    """

    text: str
    key: str | float | None = None
    is_best: bool = False
    is_code: bool = False
    footnote: int | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its heading.
        cell: the cell of a row.
        is_number: whether the greatest comes first, and the digits stand below one another.
    """

    title: str
    cell: Callable[[Any], Cell]
    is_number: bool = True


def words(title: str, text: Callable[[Any], str]) -> Column:
    """A column of words, sorted by them."""

    def cell(row: Any) -> Cell:
        said = text(row)
        return Cell(said, said)

    return Column(title, cell, is_number=False)


def table(
    label: str,
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Any],
    *,
    sorts: bool = True,
    sorted_by: str = "",
) -> Markup:
    """A table that scrolls within itself where the window is narrow; the first column names the rows.

    Args:
        label: what the table is, for those who do not see it.
        caption: what its figures are.
        columns: from the left.
        rows: what the columns' functions are given, from the top.
        sorts: whether the headings are buttons that sort the rows, by [`SORTING`].
        sorted_by: title of the column by which they stand, the greatest first.
    """
    return render(
        "table",
        label=label,
        caption=caption,
        columns=columns,
        rows=[[(column, column.cell(row)) for column in columns] for row in rows],
        sorts=sorts,
        sorted_by=sorted_by,
    )
