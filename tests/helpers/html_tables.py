"""Reading tables back from HTML."""

from __future__ import annotations

import re


def rows(table: str) -> list[list[str]]:
    """The text of each cell of the first body."""
    body = table.partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall("<tr>(.*?)</tr>", body, re.DOTALL)
    ]
