"""YAML files whose mappings know the line of each key, so that errors can name it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cmr_hub.errors import InputError

# What PyYAML raises for text that it cannot read: also for dates that do not exist, and for very deep nesting.
YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)


class LocatedDict(dict[Any, Any]):
    """A mapping of a YAML file.

    Attributes:
        path: the file.
        line: where the mapping starts, from 1.
        lines: key -> the line that it is on.
    """

    def __init__(self, path: str, line: int):
        super().__init__()
        self.path, self.line = path, line
        self.lines: dict[Hashable, int] = {}

    def emptied(self) -> LocatedDict:
        """A mapping without entries that knows the same lines, for values made of these."""
        other = LocatedDict(self.path, self.line)
        other.lines = self.lines
        return other


def location(mapping: Mapping[Any, Any], key: Hashable = None) -> str:
    """Where a key of a mapping is, or the mapping itself: "recipe.yaml, line 12: "; "" of one from no file."""
    if not isinstance(mapping, LocatedDict):
        return ""
    return f"{mapping.path}, line {mapping.lines.get(key, mapping.line)}: "


def load_yaml(path: Path) -> LocatedDict:
    """Read a YAML file that holds a mapping.

    Raises:
        InputError: the file is missing, is no YAML, holds something else, or has a key twice; names the line.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader(path))
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}, line {line}: {error.problem}. {error.context or ''}".strip()) from error
    except InputError:
        raise
    except YAML_ERRORS as error:
        raise InputError(f"{path} is no YAML: {error}.") from error
    if not isinstance(content, LocatedDict):
        raise InputError(f"{path} must hold a mapping of names to values, and holds a {type(content).__name__}.")
    return content


def _loader(path: Path) -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        """As SafeLoader, but for mappings."""

    def construct(loader: yaml.SafeLoader, node: yaml.MappingNode) -> Iterator[LocatedDict]:
        mapping = LocatedDict(str(path), node.start_mark.line + 1)
        yield mapping  # first, for anchors that refer to it
        loader.flatten_mapping(node)
        for key_node, value_node in node.value:
            key, line = loader.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise InputError(f"{path}, line {line}: {key!r} cannot be a key.")
            if key in mapping:
                raise InputError(f"{path}, line {line}: {key!r} is given twice; line {mapping.lines[key]} has it too.")
            mapping.lines[key] = line
            mapping[key] = loader.construct_object(value_node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, construct)
    return Loader
