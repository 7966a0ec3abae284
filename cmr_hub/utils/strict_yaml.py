"""YAML files decoded into typed structures: an unknown name or a value of another type is an error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from cmr_hub.errors import InputError, UnknownNameError

Structure = TypeVar("Structure")
UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<name>.+?)`")
PLACE = re.compile(r" - at `\$(?P<path>.*)`$")
STEP = re.compile(r"\w+|\.\.\.")
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")


def read_yaml(path: Path, structure: type[Structure]) -> Structure:
    """Decode a YAML file.

    Args:
        path: the file.
        structure: a `msgspec.Struct` with `forbid_unknown_fields=True`, or a type that is made of such.

    Returns:
        The content.

    Raises:
        InputError: the file cannot be read, is no YAML, or has a missing field or a value of another type.
        UnknownNameError: a field is unknown; near names are suggested.

    Both name the file and the field.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no YAML: {error}.") from error
    return decode(content, structure, str(path))


def decode(content: Any, structure: type[Structure], source: str) -> Structure:
    """Decode content that was read from YAML; see [`read_yaml`].

    Args:
        content: mappings, lists and scalars.
        structure: as for [`read_yaml`].
        source: where the content is from, for errors.
    """
    try:
        return msgspec.convert(content, structure, strict=True)
    except msgspec.ValidationError as error:
        message, place = PLACE.sub("", str(error)), PLACE.search(str(error))
        path = place["path"] if place else ""
        where = f"{source}, {path.removeprefix('.')}" if path else source
        if unknown := UNKNOWN_FIELD.match(message):
            raise UnknownNameError(f"field of {where}", unknown["name"], known_fields(structure, path)) from error
        raise InputError(f"{where}: {message}{given(content, path)}.") from error


def known_fields(structure: Any, path: str) -> list[str]:
    """The names of the fields at a path of a structure."""
    kind = without_none(msgspec.inspect.type_info(structure))
    for name in STEP.findall(path):
        if isinstance(kind, msgspec.inspect.StructType):
            kind = next(field.type for field in kind.fields if field.encode_name == name)
        elif isinstance(kind, msgspec.inspect.DictType):
            kind = kind.value_type
        elif isinstance(kind, (msgspec.inspect.ListType, msgspec.inspect.VarTupleType)):
            kind = kind.item_type
        kind = without_none(kind)
    return [field.encode_name for field in kind.fields] if isinstance(kind, msgspec.inspect.StructType) else []


def without_none(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """What an optional type is when it is given."""
    if not isinstance(kind, msgspec.inspect.UnionType):
        return kind
    return next(one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))


def given(content: Any, path: str) -> str:
    """The value at a path, if it names one item, and what to write instead of a number that YAML reads as text."""
    for name in STEP.findall(path):
        if isinstance(content, list) and name.isdigit():
            content = content[int(name)]
        elif isinstance(content, dict) and name in content:
            content = content[name]
        else:
            return ""
    if isinstance(content, (dict, list)):
        return ""
    if isinstance(content, str) and NUMBER.fullmatch(content):
        is_read_as_text = isinstance(yaml.safe_load(content), str)  # "1e-3": YAML 1.1 wants a point
        return f", {content!r}: write {yaml.safe_dump(float(content)).split()[0] if is_read_as_text else content}"
    return f", {content!r}"
