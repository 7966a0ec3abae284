"""Strict decoding of mappings into typed structures: each error names file and line, the field and near names."""

from __future__ import annotations

import dataclasses
import reprlib
import types
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from cmr_hub.errors import InputError, UnknownNameError

from .located_yaml import LocatedDict, location

T = TypeVar("T")
Hooks = Mapping[type, Callable[[Any, str], Any]]


def decode(kind: type[T], given: Mapping[str, Any], name: str = "", *, hooks: Hooks = {}) -> T:  # noqa: B006
    """Make a `msgspec.Struct` or dataclass of a mapping.

    Args:
        kind: the class; its annotations say what is allowed.
        given: field -> value; nested structures are mappings.
        name: what the whole is called in errors.
        hooks: class -> a function of a value and its name that makes an instance, for classes that are written in
            more than one way.

    Raises:
        InputError: a field is missing, unknown or of another type; a number is written such that YAML reads text.
    """
    known = _fields(kind)
    check_names(f"field of {name}" if name else "field", given, known)
    for field, (_, is_required) in known.items():
        if is_required and field not in given:
            raise _error(given, f"{name or 'it'} lacks the field {field!r}.")
    prefix = f"{name}." if name else ""
    values = {}
    for field, value in given.items():
        with located(given, field):
            values[field] = _decode(known[field][0], value, prefix + field, hooks)
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise _error(given, f"{name}: {error}.") from error


@contextmanager
def located(mapping: Mapping[Any, Any], key: Hashable) -> Iterator[None]:
    """Name the place of a key in errors that are raised about its value."""
    try:
        yield
    except LocatedError:
        raise
    except (InputError, UnknownNameError) as error:
        if where := location(mapping, key):
            raise LocatedError(f"{where}{error}") from error
        raise


class LocatedError(InputError):
    """An error in a file that says in which line it is."""


def _error(given: Mapping[Any, Any], message: str) -> InputError:
    where = location(given)
    return LocatedError(where + message) if where else InputError(message)


def check_names(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that are not known.

    Raises:
        UnknownNameError: the first of them, with near names; a LocatedError where `given` is a mapping of a file.
    """
    known = list(known)
    for name in given:
        if name not in known:
            error = UnknownNameError(kind, name, known)
            if isinstance(given, Mapping) and (where := location(given, name)):
                raise LocatedError(f"{where}{error}") from error
            raise error


def check_value(value: Any, hint: Any, name: str) -> Any:
    """A value as its type has it: a whole number where a float is wanted becomes one.

    Args:
        value: as it was read.
        hint: the type: a class, a union, a Literal, an Enum by its values, or a list or mapping of such.
        name: what it is called in errors.

    Raises:
        InputError: the value is of another type.
        UnknownNameError: the value is none of those that are allowed.
    """
    if get_origin(hint) in (list, tuple, Sequence) and isinstance(value, list | tuple):
        return [check_value(item, get_args(hint)[0], f"{name}[{number}]") for number, item in enumerate(value)]
    if _fits(value, hint):
        return float(value) if isinstance(value, int) and not _fits_exactly(value, hint) else value
    choices = _choices(hint)
    if choices and isinstance(value, str):
        raise UnknownNameError(f"value of {name}", value, choices)
    told = f"{name} must be {_described(hint)}, and is {_shown(value)}."
    if (number := _as_number(value)) is not None and _fits(number, hint):
        told += f" YAML reads this as text: write {number!r}."
    raise InputError(told)


def _decode(hint: Any, value: Any, name: str, hooks: Hooks) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if hint in hooks:
        return hooks[hint](value, name)
    if origin in (Union, types.UnionType):
        inner = [
            part for part in parts if part in hooks or (_has_structure(part, hooks) and isinstance(value, Mapping))
        ]
        if inner and value is not None:
            return _decode(inner[0], value, name, hooks)
    elif _is_structure(hint):
        return decode(hint, _mapping(value, name), name, hooks=hooks)
    elif origin in (list, tuple, Sequence) and _has_structure(parts[0], hooks):
        items = check_value(value, list, name)
        return [_decode(parts[0], item, f"{name}[{number}]", hooks) for number, item in enumerate(items)]
    elif origin in (dict, Mapping):
        entries = _mapping(value, name)
        return _decode_entries(entries, parts[0], parts[1], name, hooks)
    return check_value(value, hint, name)


def _decode_entries(given: Mapping[Any, Any], key_hint: Any, hint: Any, name: str, hooks: Hooks) -> Mapping[Any, Any]:
    """A mapping with keys that are free; those of a Literal are among its names."""
    if hint is Any:  # checked by whoever knows what is allowed; the lines are kept until then
        return given
    if get_origin(key_hint) is Literal:
        check_names(f"field of {name}", given, get_args(key_hint))
    decoded = given.emptied() if isinstance(given, LocatedDict) else {}
    for key, value in given.items():
        with located(given, key):
            check_value(key, key_hint, f"a key of {name}")
            decoded[key] = _decode(hint, value, f"{name}.{key}", hooks)
    return decoded


def _mapping(value: Any, name: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{name} must be a mapping of names to values, and is {_shown(value)}.")
    return value


def _is_structure(hint: Any) -> bool:
    return isinstance(hint, type) and (issubclass(hint, msgspec.Struct) or dataclasses.is_dataclass(hint))


def _has_structure(hint: Any, hooks: Hooks) -> bool:
    """Whether decoding goes on inside of a value of this type."""
    return hint in hooks or _is_structure(hint) or get_origin(hint) in (dict, Mapping)


def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """Field -> its type, and whether it is required."""
    hints = get_type_hints(kind)
    if issubclass(kind, msgspec.Struct):
        return {field.name: (hints[field.name], field.required) for field in msgspec.structs.fields(kind)}
    assert dataclasses.is_dataclass(kind)
    missing = dataclasses.MISSING
    return {
        field.name: (hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
    }


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, an int also where a float is wanted."""
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return _fits_exactly(value, hint) or (
        get_origin(hint) in (Union, types.UnionType) and any(_fits(value, part) for part in _alternatives(hint))
    )


def _fits_exactly(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits_exactly(value, part) for part in _alternatives(hint))
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in parts)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(_fits(item, parts[0]) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(_fits(item, parts[1]) for item in value.values())
    if isinstance(hint, type) and issubclass(hint, Enum):
        return value in [choice.value for choice in hint]
    if isinstance(value, bool) and hint is not bool:
        return False
    return isinstance(value, hint) if isinstance(hint, type) else False


def _alternatives(hint: Any) -> list[Any]:
    """The parts of a union. `SomeEnum | str` stands for the values of the enum."""
    parts = list(get_args(hint))
    return [part for part in parts if part is not str] if any(_is_enum(part) for part in parts) else parts


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


def _choices(hint: Any) -> list[str]:
    """The texts that are allowed where not every text is."""
    if get_origin(hint) is Literal:
        return [choice for choice in get_args(hint) if isinstance(choice, str)]
    if get_origin(hint) in (Union, types.UnionType):
        return [choice for part in _alternatives(hint) for choice in _choices(part)]
    return [choice.value for choice in hint] if _is_enum(hint) else []


class _Shortened(reprlib.Repr):
    """Values as `repr` has them, but for those that are too large for a line: with anchors, a short file has such."""

    repr_LocatedDict = reprlib.Repr.repr_dict  # by the name of the type

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200


_shown = _Shortened().repr


def _described(hint: Any) -> str:
    named = {int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list"}
    named |= {dict: "a mapping"}
    if get_origin(hint) in (Union, types.UnionType):
        parts = [part for part in get_args(hint) if part is not msgspec.UnsetType]
        return " or ".join(dict.fromkeys(map(_described, parts)))
    if get_origin(hint) in (list, tuple, Sequence):
        return "a list"
    if get_origin(hint) in (dict, Mapping):
        return "a mapping" if get_args(hint)[1] is Any else f"a mapping to {_described(get_args(hint)[1])}"
    return "null" if hint is type(None) else named.get(hint, str(hint).removeprefix("typing."))


def _as_number(value: Any) -> int | float | None:
    """The number that a text is meant as: "1e-3" is text to YAML, which wants a point."""
    for kind in (int, float):
        try:
            return kind(value) if isinstance(value, str) else None
        except ValueError:
            continue
    return None
