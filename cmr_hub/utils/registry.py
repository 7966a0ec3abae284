"""Lazy name-to-class registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

from cmr_hub.errors import UnknownNameError


class Registry(Mapping[str, Any]):
    """Names of one kind of thing, each with the place that it is imported from when it is first asked for.

    Args:
        kind: what the names stand for, as errors should call it ("method", "data set" …).
        places: name -> "module:attribute".

    Raises:
        UnknownNameError: on a name that is not listed, with near names suggested.

    Example:

    ```python
    >>> from cmr_hub.methods import METHODS
    >>> "dscmr" in METHODS
    True
    >>> METHODS["cca"].__name__
    'CCAModel'
    ```
    """

    def __init__(self, kind: str, places: Mapping[str, str]):
        self.kind = kind
        self._places = dict(places)

    def __getitem__(self, name: str) -> Any:
        if name not in self._places:
            raise UnknownNameError(self.kind, name, self._places)
        module, attribute = self._places[name].split(":")
        return getattr(import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def list(self, pattern: str = "*") -> list[str]:
        """The names that match a shell-style pattern, sorted."""
        return sorted(name for name in self._places if fnmatchcase(name, pattern))
