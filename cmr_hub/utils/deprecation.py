"""Old names that keep working for one release: attributes, arguments and module attributes."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

REMOVED_IN = "cmr_hub 0.3"
_NOT_THE_USER = ("cmr_hub", "training", "importlib", "abc")


def warn_deprecated(message: str) -> None:
    """A DeprecationWarning at the line outside this package that led here, as if that line had raised it."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_USER:
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        DeprecationWarning,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def warn_renamed(old: str, new: str) -> None:
    """Warn that a name was used that is now another."""
    warn_deprecated(f"{old} is deprecated and will be removed in {REMOVED_IN}: use {new} instead.")


class RenamedAttribute:
    """An attribute, property or method under its old name.

    Args:
        new: the name that it has now.

    Example:
    ```python
    >>> class Toy:
    ...     colour = "red"
    ...     color = RenamedAttribute("colour")
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     Toy().color
    'red'
    >>> str(caught[0].message)
    'Toy.color is deprecated and will be removed in cmr_hub 0.3: use colour instead.'
    ```
    """

    def __init__(self, new: str):
        self.new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.old = owner, name

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        warn_renamed(f"{self.owner.__name__}.{self.old}", self.new)
        return getattr(owner if instance is None else instance, self.new)


def adopt_renamed(cls: type, renamed: Mapping[str, str]) -> None:
    """Give a class that sets attributes by their old names the new ones; for `__init_subclass__` of public bases.

    Args:
        cls: the class that is being defined.
        renamed: old name -> new name.
    """
    for old, new in renamed.items():
        if old in cls.__dict__ and new not in cls.__dict__:
            warn_renamed(f"{cls.__name__}.{old}", new)
            setattr(cls, new, cls.__dict__[old])


def renamed_arguments(**renamed: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for a function that also takes keyword arguments by their old names.

    Args:
        **renamed: old name = new name.

    Raises:
        TypeError: when the function is called with both names of an argument.

    Example:
    ```python
    >>> @renamed_arguments(color="colour")
    ... def paint(colour):
    ...     return colour
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     paint(color="red")
    'red'
    >>> str(caught[0].message)
    'paint(color=) is deprecated and will be removed in cmr_hub 0.3: use colour= instead.'
    ```
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            name = function.__qualname__.removesuffix(".__init__")
            for old, new in renamed.items():
                if old in kwargs:
                    if new in kwargs:
                        raise TypeError(f"{name}() takes {new}=, or by its old name {old}=, not both.")
                    warn_renamed(f"{name}({old}=)", f"{new}=")
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapper

    return decorate


def renamed_module_attributes(module: str, renamed: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` (PEP 562) for a module whose attributes have new names.

    Args:
        module: its `__name__`.
        renamed: old name -> new name.
    """

    def get_attribute(name: str) -> Any:
        if name not in renamed:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn_renamed(f"{module}.{name}", renamed[name])
        return getattr(import_module(module), renamed[name])

    return get_attribute
