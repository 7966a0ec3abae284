"""Open name-to-class registries: names are known without importing what they stand for."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cmr_hub.errors import DuplicateNameError, InputError, PluginError, UnknownNameError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T", bound=type)

_END_OF_HEAD = re.compile(r"^(?:    (?:async def|def|class|@)|\w|@)", re.MULTILINE)

# Names that say nothing of their order, and those of plugins, come after the built-in ones.
DEFAULT_ORDER = 1000


@dataclass(frozen=True)
class Registration:
    """Where a name leads, as far as it is known without an import.

    Attributes:
        name: the registered name.
        target: the class, as "module:Class".
        display_order: names are listed by it, then alphabetically.
        path: the file that defines the class; None where only an import would tell.
        facts: class attributes that are literals in the class body.
        package: name and version of the installed package whose entry point this is; "" for the others.
    """

    name: str
    target: str
    display_order: int = DEFAULT_ORDER
    path: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    package: str = ""

    @property
    def origin(self) -> str:
        """The class and, of a plugin, its package, for messages."""
        return f"{self.target} (package {self.package})" if self.package else self.target

    def is_same(self, other: Registration) -> bool:
        """Whether both lead to one class: a package may export what it defines in a module of its own."""
        module, _, name = self.target.partition(":")
        other_module, _, other_name = other.target.partition(":")
        same_package = module.partition(".")[0] == other_module.partition(".")[0]
        return self.target == other.target or (same_package and (name == other_name or not (name and other_name)))


class Registry(Mapping[str, T], Generic[T]):
    """Classes by name, from three sources: this package's source, installed plugins and decorated classes.

    A built-in class carries a decorator, `@register_method("dscmr")`. The names are read from the source text of the
    package's folder, so that there is no list to edit and nothing has to be imported to know them. (transformers finds
    its models in the same way.) Plugins are entry points, whose names are package metadata. A class that is decorated
    elsewhere is known from when its module is imported.

    Args:
        kind: what the names stand for, for messages ("method", "data set" …).
        decorator: name of the function that marks built-in classes.
        package: the package whose source is searched for the decorator.
        group: the entry points' group.
        arguments: what the decorator's first arguments must be, before the names.
        base: name of the class that every registered class must derive from, as "module:Class".

    Raises:
        UnknownNameError: on a name that is not registered, with near names suggested.
        DuplicateNameError: on a name that two plugins claim.
        PluginError: on a name whose plugin cannot be imported.

    Example:
    ```python
    >>> from cmr_hub.methods import METHODS
    >>> "dscmr" in METHODS
    True
    >>> METHODS["cca"].__name__
    'CCAModel'
    ```
    """

    def __init__(
        self, kind: str, *, decorator: str, package: str, group: str, base: str, arguments: tuple[str, ...] = ()
    ):
        self.kind = kind
        self.group = group
        self._decorator, self._package, self._arguments, self._base = decorator, package, arguments, base
        self._decorated: dict[str, Registration] = {}
        self._classes: dict[str, T] = {}

    def register(self, *names: str, display_order: int = DEFAULT_ORDER) -> Callable[[T], T]:
        """A decorator that registers a class under one or more names.

        Args:
            names: what users call it.
            display_order: names are listed by it, then alphabetically.

        Raises:
            InputError: a name is no text, is empty or holds white space; or the order is no whole number.
            DuplicateNameError: another class has the name.
            TypeError: the class does not derive from the registry's base class.
        """
        for name in names:
            if not isinstance(name, str) or not name or any(map(str.isspace, name)):
                raise InputError(f"{name!r} cannot name a {self.kind}: write a text without white space.")
        if not isinstance(display_order, int):
            raise InputError(f"display_order of {' and '.join(names)} must be a whole number, not {display_order!r}.")

        def decorate(cls: T) -> T:
            self.check_class(cls)
            target, path = f"{cls.__module__}:{cls.__qualname__}", _file_of(cls)
            registrations = [Registration(name, target, display_order, path) for name in names]
            for new in registrations:
                known = self._decorated.get(new.name) or self._known_to(new)
                if known is not None and not new.is_same(known):
                    raise DuplicateNameError(self.kind, new.name, [known.origin, new.origin])
            self._decorated |= {new.name: new for new in registrations}
            self._classes |= dict.fromkeys(names, cls)
            return cls

        return decorate

    def __getitem__(self, name: str) -> T:
        if name not in self._classes:
            self._classes[name] = self._load(self.find(name))
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._decorated or name in self._built_in or name in self._plugins

    def __iter__(self) -> Iterator[str]:
        known = self._known
        return iter(sorted(known, key=lambda name: (known[name].display_order, name)))

    def __len__(self) -> int:
        return len(self._known)

    def list(self, pattern: str = "*") -> list[str]:
        """The names that match a shell-style pattern, in alphabetical order."""
        return sorted(name for name in self._known if fnmatchcase(name, pattern))

    def built_in(self) -> builtins.list[Registration]:
        """What the package itself registers, in order of display; imports nothing."""
        return sorted(self._built_in.values(), key=lambda known: (known.display_order, known.name))

    def find(self, name: str) -> Registration:
        """Where a name leads, also in another spelling, see [`resolve`]; imports nothing.

        Raises:
            UnknownNameError: the name is not registered.
            DuplicateNameError: two plugins claim it.
        """
        known = self._built_in.get(name) or self._decorated.get(name)
        if known is not None:
            return known
        plugins = self._plugins.get(name)
        if plugins is None:
            meant = self.resolve(name)
            if meant == name:
                raise UnknownNameError(self.kind, name, self._known)
            return self.find(meant)
        if len(plugins) > 1:
            raise DuplicateNameError(self.kind, name, [plugin.origin for plugin in plugins])
        return plugins[0]

    def resolve(self, name: str) -> str:
        """The registered name that is meant: by upper case, by "-" for "_", or by the title of the class.

        Returns:
            That name; `name` itself where it is registered, or nothing is meant.

        Example:
        ```python
        >>> from cmr_hub.methods import METHODS
        >>> METHODS.resolve("sm"), METHODS.resolve("DSCMR-Hash"), METHODS.resolve("none")
        ('semantic_matching', 'dscmr_hash', 'none')
        ```
        """
        if name in self:
            return name
        known = self._known
        titles = {_plain(registered.facts.get("title", each)): each for each, registered in known.items()}
        return {**titles, **{_plain(each): each for each in known}}.get(_plain(name), name)

    def fact(self, name: str, attribute: str) -> Any:
        """A class attribute; the class is imported only where its body does not state the attribute as a literal.

        Raises:
            PluginError: the class would have to be imported, and cannot be.
        """
        facts = self.find(name).facts
        return facts[attribute] if attribute in facts else getattr(self[name], attribute)

    def folder(self, name: str) -> Path | None:
        """The folder of the file that defines a class; None for a class without a file (of an interactive session)."""
        return path.parent if (path := self.find(name).path or _file_of(self[name])) else None

    def importable(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, T]]:
        """Names with their classes, in order of display; a plugin that fails is named in a warning and left out."""
        for name in self if names is None else names:
            try:
                yield name, self[name]
            except (PluginError, DuplicateNameError) as error:
                warnings.warn(str(error), RuntimeWarning, stacklevel=2)

    def check_class(self, cls: Any) -> None:
        """Raise TypeError for what does not derive from the registry's base class."""
        module, _, name = self._base.partition(":")
        if not (isinstance(cls, type) and issubclass(cls, getattr(import_module(module), name))):
            raise TypeError(f"{cls!r} is no {self.kind}: it must be a class that derives from {module}.{name}.")

    @cached_property
    def _built_in(self) -> dict[str, Registration]:
        (folder,) = map(Path, import_module(self._package).__path__)
        found: dict[str, Registration] = {}
        for path in sorted(folder.rglob("*.py")):
            module = ".".join([self._package, *path.relative_to(folder).with_suffix("").parts])
            for new in _read_registrations(path, module, self._decorator, self._arguments):
                if new.name in found:
                    raise DuplicateNameError(self.kind, new.name, [found[new.name].origin, new.origin])
                found[new.name] = new
        return found

    @cached_property
    def _plugins(self) -> dict[str, builtins.list[Registration]]:
        """By name, all that claim it: which of two is meant, only their user can say."""
        from importlib.metadata import entry_points  # 50 ms that built-in names need not wait for

        found: dict[str, builtins.list[Registration]] = {}
        for point in entry_points(group=self.group):
            new = Registration(point.name, point.value, package=_package_of(point))
            if (built_in := self._built_in.get(new.name)) is not None:
                refused = DuplicateNameError(self.kind, new.name, [built_in.origin, new.origin])
                warnings.warn(f"{refused} The built-in one is used.", RuntimeWarning, stacklevel=2)
            elif new not in found.setdefault(new.name, []):
                found[new.name].append(new)
        return found

    @property
    def _known(self) -> dict[str, Registration]:
        plugins = {name: claims[0] for name, claims in self._plugins.items()}
        return {**self._decorated, **plugins, **self._built_in}

    def _known_to(self, new: Registration) -> Registration | None:
        """What had the name before `new`, from any source. Built-in classes go first: plugins give way to them."""
        if new.target.startswith(f"{self._package}."):
            return None
        plugins = self._plugins.get(new.name, [])
        others = [plugin for plugin in plugins if not plugin.is_same(new)]
        return self._built_in.get(new.name) or next(iter(others), None)

    def _load(self, registration: Registration) -> T:
        module_name, _, attribute = registration.target.partition(":")
        if not registration.package:
            return getattr(import_module(module_name), attribute)
        try:
            loaded: Any = import_module(module_name)
            for part in filter(None, attribute.split(".")):
                loaded = getattr(loaded, part)
            if not attribute:  # the entry point names a module, whose classes are decorated
                if registration.name not in self._classes:
                    raise AttributeError(f"module {module_name!r} registers no {self.kind} of this name")
                loaded = self._classes[registration.name]
            self.check_class(loaded)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a package raises while it is imported, `sys.exit()` included
            reason = f"{type(error).__name__}: {error}".removesuffix(".")
            raise PluginError(
                f"The {self.kind} {registration.name!r} comes from the installed package {registration.package} "
                f"({registration.target}) and cannot be used: {reason}. Update or uninstall it."
            ) from error
        return loaded


def _file_of(cls: type) -> Path | None:
    try:
        return Path(inspect.getfile(cls))
    except (TypeError, OSError):
        return None


def _package_of(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _plain(name: object) -> str:
    """A name without what people write in different ways."""
    return str(name).lower().replace("-", "_").replace(" ", "_")


def _read_registrations(path: Path, module: str, decorator: str, arguments: tuple[str, ...]) -> Iterator[Registration]:
    """What the decorated classes of a source file are registered as.

    Only decorators and the head of each class are parsed, up to its first method: a whole package in 15 ms.
    """
    source = path.read_text(encoding="utf-8")
    parsed_up_to = 0
    for start in re.finditer(rf"^@{decorator}\(", source, re.MULTILINE):
        if start.start() < parsed_up_to:  # a class with several names
            continue
        parsed_up_to, cls = _parse_head(source, start.start())
        facts = {
            target.id: node.value.value
            for node in cls.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in cls.decorator_list:
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == decorator):
                continue
            given = tuple(ast.literal_eval(argument) for argument in call.args)
            options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
            if given[: len(arguments)] == arguments:
                for name in given[len(arguments) :]:
                    order = options.get("display_order", DEFAULT_ORDER)
                    yield Registration(name, f"{module}:{cls.name}", order, path, facts)


def _parse_head(source: str, start: int) -> tuple[int, ast.ClassDef]:
    """The class whose first decorator is at `start`, as far as it can be parsed by itself, and where that ends.

    Raises:
        SyntaxError: there is no such class.
    """
    # A line of a docstring may look like an end: the text up to it is no valid class then, and the next end is tried.
    ends = [match.start() for match in _END_OF_HEAD.finditer(source, start)]
    for end in [*ends, len(source)]:
        try:
            body = ast.parse(source[start:end]).body
        except SyntaxError:
            continue
        if body and isinstance(body[0], ast.ClassDef):
            return end, body[0]
    raise SyntaxError(f"No class follows the decorator: {source[start : start + 80]!r}")
