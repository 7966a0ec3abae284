"""What the cells of people's tables say: missing values, numbers, lists."""

from __future__ import annotations

import ast
import math
import re
import unicodedata
import warnings
from collections.abc import Iterable
from typing import Any

LABEL_SEPARATOR = ";"  # between the class names in a cell
# A missing value as pandas writes it into text, and the errors of spreadsheets.
MISSING = frozenset(
    ("nan", "NaN", "NaT", "<NA>", "#N/A", "#NAME?", "#VALUE!", "#REF!", "#DIV/0!", "#NULL!", "#NUM!", "#NV")
)
QUOTED = r"""(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
NUMBER = r"(?:[-+]?\d+(?:\.\d*)?)"
TEXT_LIST = re.compile(rf"[\[({{]\s*{QUOTED}(?:[\s,]+{QUOTED})*[\s,]*[\])}}]|\[\s*\]")
NUMBER_LIST = re.compile(rf"\[\s*{NUMBER}(?:[\s,]+{NUMBER})*[\s,]*\]")
INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]")  # what is copied with text from web pages
INTEGER = re.compile(r"([-+]?\d+)(?:\.0*|,0)?")  # "3,0" where the decimal sign is a comma
NUMERIC = re.compile(r"[-+]?\d+(?:\.\d+)?")


def is_blank(value: Any) -> bool:
    """Whether a cell says nothing: null, NaN, white space, a list of such, or how pandas and spreadsheets write it.

    Example:
    ```python
    >>> [is_blank(value) for value in (None, float("nan"), " ", "#N/A", 0, "none")]
    [True, True, True, True, False, False]
    ```
    """
    if isinstance(value, list):
        return all(map(is_blank, value))
    if isinstance(value, str):
        return not (stripped := value.strip()) or stripped in MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


def to_text(value: str | float) -> str:
    r"""A cell's text without the white space around it; a number that is whole as such.

    Halves of letters, as programs leave them that cut a text within an emoji, are left out: no file can hold them.

    Example:
    ```python
    >>> to_text(3.0), to_text(" 3.0 "), to_text(2.5), to_text("a cat \ud83d")
    ('3', '3.0', '2.5', 'a cat')
    ```
    """
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value)
    return (text if is_unicode(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")).strip()


def is_unicode(text: str) -> bool:
    r"""Whether a text can be stored in any file: it has no halves of letters, and no bytes that are none.

    Example:
    ```python
    >>> is_unicode("café"), is_unicode("caf\udce9")
    (True, False)
    ```
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def listed(cell: str, *, numbers: bool = False) -> list[str] | None:
    """The strings of a cell that is written as a list of JSON, Python or NumPy; None of any other cell.

    Args:
        cell: the text.
        numbers: whether a list of numbers is one as well.

    Example:
    ```python
    >>> listed("['a dog', 'a cat']"), listed("['x' 'y']"), listed("a [dog]"), listed("[1, 2]", numbers=True)
    (['a dog', 'a cat'], ['x', 'y'], None, ['1', '2'])
    ```
    """
    cell = cell.strip()
    if numbers and NUMBER_LIST.fullmatch(cell):
        return re.findall(NUMBER, cell)
    if not TEXT_LIST.fullmatch(cell):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of "\d" Python warns
            return [ast.literal_eval(item) for item in re.findall(QUOTED, cell)]
    except (SyntaxError, ValueError):
        return None


def class_name(text: str) -> str:
    r"""A class as it is compared: one space between words, accents in one piece, and no marks that nobody sees.

    Example:
    ```python
    >>> class_name(" big\xa0 cat\u200b"), class_name("e\u0301te\u0301") == "\xe9t\xe9"
    ('big cat', True)
    ```
    """
    return " ".join(unicodedata.normalize("NFC", INVISIBLE.sub("", text)).split())


def unify_numbers(names: Iterable[str]) -> dict[str, str]:
    """Class names -> themselves or, where all are whole numbers, without the ".0" of floats.

    Example:
    ```python
    >>> unify_numbers(["3", "10.0"]), unify_numbers(["1.0", "1.1"])
    ({'3': '3', '10.0': '10'}, {'1.0': '1.0', '1.1': '1.1'})
    ```
    """
    found = {name: INTEGER.fullmatch(name) for name in names}
    if not all(found.values()):
        return {name: name for name in found}
    return {name: match[1] for name, match in found.items() if match}


def natural_order(name: str) -> tuple[Any, ...]:
    """A sort key: numbers by their value, before all else; other names with the numbers in them by value.

    Example:
    ```python
    >>> sorted(["10", "9", "-1", "part 10", "part 9", "a"], key=natural_order)
    ['-1', '9', '10', 'a', 'part 9', 'part 10']
    ```
    """
    if NUMERIC.fullmatch(name):
        return (0, float(name), name)
    parts = re.split(r"(\d+)", name)
    digits = [part.lstrip("0") for part in parts[1::2]]
    return (1, [(text, len(number), number) for text, number in zip(parts[::2], [*digits, ""], strict=True)], name)
