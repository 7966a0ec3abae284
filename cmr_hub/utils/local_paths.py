"""Take what names a place on somebody's machine out of what is published."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

# After the beginning, a blank, a quote or a sign of YAML, or the name of a family of encoders ("transformers//x").
_PATH = re.compile(
    r"(?P<before>^|[=\s\"':,{\[]|(?<!:)/)"
    r"(?P<path>(?:~[^/\s]*|\.\.)?/(?!/|\s|$)[^\"'{}\[\],]*|[A-Za-z]:\\[^\"'{}\[\],]*)"
)


def without_local_paths(value: Any) -> Any:
    """JSON values with the last name of each path of this machine in its place; relative paths stay.

    Example:
    ```python
    >>> without_local_paths(["/home/me/photos", "transformers//home/me/clip", "outputs/run", "https://a.org/b"])
    ['photos', 'transformers/clip', 'outputs/run', 'https://a.org/b']
    ```
    """
    if isinstance(value, Mapping):
        return {name: without_local_paths(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_local_paths(each) for each in value]
    return _PATH.sub(_last_name, value) if isinstance(value, str) else value


def command_without_local_paths(command: str) -> str:
    """A command line, likewise.

    Example:
    ```python
    >>> command_without_local_paths("prog --data-dir '/home/me/my photos' --output-dir=~/runs/first --seed 0")
    "prog --data-dir 'my photos' --output-dir=first --seed 0"
    ```
    """
    try:
        parts = shlex.split(command)
    except ValueError:  # a quote that is not closed
        return without_local_paths(command)
    public = without_local_paths(parts)
    return command if public == parts else shlex.join(public)


def _last_name(found: re.Match[str]) -> str:
    path = found["path"]
    return found["before"] + (PureWindowsPath(path) if "\\" in path else PurePosixPath(path)).name
