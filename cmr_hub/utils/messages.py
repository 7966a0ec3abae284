"""What error messages have in common."""

from __future__ import annotations

from collections.abc import Iterable


def name_some(names: Iterable[str], shown: int = 3) -> str:
    """The first few names and how many more there are; "" of none.

    Example:
    ```python
    >>> name_some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    ```
    """
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
