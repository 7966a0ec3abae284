"""Run code when another package's module is imported, without importing it now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Callback = Callable[[ModuleType], object]


class _Watcher(MetaPathFinder):
    """Finds no module itself: it has the callbacks of a module run after the module's own loader has executed it."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Callback]] = {}
        self.executed: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.waiting:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others if hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self.executed.add(fullname)
                for callback in self.waiting.pop(fullname, []):
                    callback(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # a loader serves one module
        return spec


_watcher = _Watcher()


def when_imported(name: str, callback: Callback) -> None:
    """Call `callback(module)` once the module is imported: at once where it is already.

    Args:
        name: full name of the module.
        callback: called with the module, after its code has run.

    Example:
    ```python
    >>> when_imported("json", lambda module: print(module.__name__))
    json
    ```
    """
    module = sys.modules.get(name)
    is_imported = module is not None and not getattr(module.__spec__, "_initializing", False)
    if module is not None and (is_imported or name in _watcher.executed):
        callback(module)
        return
    if _watcher not in sys.meta_path:
        sys.meta_path.insert(0, _watcher)
    _watcher.waiting.setdefault(name, []).append(callback)
