"""Every example in a docstring of the package runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from types import ModuleType

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
