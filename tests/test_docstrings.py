"""Docstrings of the package: everything public has one, and every example runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cached_property
from types import FunctionType, ModuleType
from typing import Any

import pytest

import cmr_hub

FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)
MODULES = [
    name for _, name, _ in pkgutil.walk_packages(cmr_hub.__path__, "cmr_hub.") if not name.startswith("cmr_hub._")
]


def examples(module: ModuleType) -> dict[str, str]:
    """Qualified name -> fenced example, for the module and everything that is defined in it."""
    documented = {"module": module}
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) == module.__name__:
            documented[name] = thing
            if inspect.isclass(thing):
                documented |= {f"{name}.{member}": value for member, value in vars(thing).items()}
    found = {}
    for name, thing in documented.items():
        docstring = inspect.getdoc(thing) if callable(thing) or thing is module else None
        for number, block in enumerate(FENCED.findall(docstring or "")):
            if ">>>" in block:
                found[f"{name}[{number}]"] = inspect.cleandoc(block) + "\n"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("module_name", MODULES)
def test_examples(module_name, private_cache, tmp_path, monkeypatch):
    module = importlib.import_module(module_name)
    monkeypatch.chdir(tmp_path)
    parser, failures = doctest.DocTestParser(), []
    for name, block in examples(module).items():
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
        test = parser.get_doctest(block, dict(vars(module)), f"{module_name}.{name}", None, 0)
        runner.run(test, out=failures.append)
    assert not failures, "\n".join(failures)


def test_there_are_examples_to_run():
    assert len(examples(importlib.import_module("cmr_hub.data.base"))) >= 3


PROPERTIES = (property, cached_property)
METHODS = (FunctionType, classmethod, staticmethod, *PROPERTIES)


def public_definitions(module: ModuleType) -> list[Any]:
    """Classes and functions that a module defines under public names."""
    return [
        thing
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and (thing.__module__, thing.__qualname__) == (module.__name__, name)
    ]


def is_documented(cls: type, name: str) -> bool:
    """Whether a method has a docstring or overrides one that has, or a property is an attribute that a class lists."""
    versions = [vars(base)[name] for base in cls.__mro__ if name in vars(base)]
    if any(isinstance(version, METHODS) and version.__doc__ for version in versions):
        return True
    listed = re.compile(rf"^ *{name}:", re.MULTILINE)
    return isinstance(versions[0], PROPERTIES) and any(listed.search(base.__doc__ or "") for base in cls.__mro__)


def undocumented(thing: Any) -> Iterator[str]:
    """A function, or a class and its public methods, by full name: those without a docstring."""
    full_name = f"{thing.__module__}.{thing.__qualname__}"
    if not thing.__doc__:
        yield full_name
    for name, member in vars(thing).items() if inspect.isclass(thing) else ():
        if not name.startswith("_") and isinstance(member, METHODS) and not is_documented(thing, name):
            yield f"{full_name}.{name}"


def test_everything_public_is_documented():
    modules = [importlib.import_module(name) for name in MODULES]
    things = [thing for module in modules for thing in public_definitions(module)]
    assert cmr_hub.Gallery in things
    assert [name for thing in things for name in undocumented(thing)] == []


def test_a_method_is_documented_by_itself_by_the_one_it_overrides_or_as_an_attribute():
    class Base:
        """Attributes:
        width: of a row.
        """

        def encode(self):
            """Encode."""

        @staticmethod
        def load():
            """Load."""

    class Encoder(Base):
        width = property(lambda self: 1)
        depth = property(lambda self: 1)

        def encode(self): ...

        def decode(self): ...

        @staticmethod
        def load(): ...

        @classmethod
        def save(cls): ...

        def _hidden(self): ...

    assert list(undocumented(Base)) == []
    assert [name.rpartition(".")[2] for name in undocumented(Encoder)] == ["Encoder", "depth", "decode", "save"]
