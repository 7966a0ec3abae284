"""Where a name of the hub leads. The only lines, outside its own folder, that know a method by name are here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import UnknownNameError

if TYPE_CHECKING:
    from .modeling_cmr import CMRModel


class Registry(Mapping[str, Any]):
    """Names of one kind of thing, each with the place that it is imported from when it is first asked for.

    Args:
        kind: what the names stand for, as errors should call it ("method", "data set" …).
        places: name -> "module:attribute".

    Raises:
        UnknownNameError: on a name that is not listed, with near names suggested.

    Example:

    ```python
    >>> from cmr_hub.registry import METHODS
    >>> sorted(METHODS)
    ['cca', 'dscmr']
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


METHODS: Mapping[str, type[CMRModel]] = Registry(
    "method",
    {
        "cca": "cmr_hub.methods.cca.modeling_cca:CCAModel",
        "dscmr": "cmr_hub.methods.dscmr.modeling_dscmr:DSCMRModel",
    },
)


def list_methods(pattern: str = "*") -> list[str]:
    """Names of the methods in this hub, sorted, those that match a shell-style pattern.

    Example:

    ```python
    >>> import cmr_hub
    >>> cmr_hub.list_methods("d*")
    ['dscmr']
    ```
    """
    return METHODS.list(pattern)
