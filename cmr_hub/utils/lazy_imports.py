"""Attributes of a package that are imported when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_attributes(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` (PEP 562) for a package. Type checkers learn the names elsewhere: a stub, or `TYPE_CHECKING`.

    Args:
        package: its `__name__`.
        homes: attribute -> full name of the module that defines it. A module that is an attribute itself is its home.

    Returns:
        The function to assign to `__getattr__`.

    Example:
    ```python
    >>> get = lazy_attributes("toy", {"sqrt": "math"})
    >>> get("sqrt")(9.0)
    3.0
    >>> get("sqroot")
    Traceback (most recent call last):
    AttributeError: module 'toy' has no attribute 'sqroot'
    ```
    """

    def get_attribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(homes[name])
        return module if homes[name] == f"{package}.{name}" else getattr(module, name)

    return get_attribute
