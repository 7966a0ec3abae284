"""Writes `cmr_hub/__init__.pyi`: every public name with its type, for type checkers and editors.

`python -m cmr_hub.stub` is run when a method is added or a public name moves; a test compares the file with the names.
"""

from __future__ import annotations

from pathlib import Path

from cmr_hub.exports import SUBPACKAGES, public_homes

STUB = Path(__file__).with_name("__init__.pyi")


def stub() -> str:
    """The text of `__init__.pyi`, as the linter would have it."""
    homes = public_homes()
    lines = ["# Written by `python -m cmr_hub.stub`: do not edit.", ""]
    lines += [f"from . import {name} as {name}" for name in SUBPACKAGES]
    for home in sorted(set(homes.values())):
        names = sorted((name for name in homes if homes[name] == home), key=lambda name: (_kind(name), name.lower()))
        lines.append(f"from {home.removeprefix('cmr_hub')} import {', '.join(names)}")
    listed = sorted(homes, key=lambda name: (_kind(name), name))
    return "\n".join([*lines, "", "__version__: str", "__all__ = [", *(f'    "{name}",' for name in listed), "]", ""])


def _kind(name: str) -> int:
    """Constants, then classes, then functions."""
    return 0 if name.isupper() else 1 if name[0].isupper() else 2


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
