"""Which encoder a recipe asks for, and with which options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cmr_hub.errors import InputError


class EncoderSpec(msgspec.Struct, frozen=True):
    """An encoder by name, with its options.

    Attributes:
        name: as `create_encoder` takes it.
        options: what its class takes.

    Example:
    ```python
    >>> EncoderSpec.parse("glove")
    EncoderSpec(name='glove', options={})
    >>> EncoderSpec.parse({"name": "word2vec", "window": 3}).to_dict()
    {'name': 'word2vec', 'window': 3}
    ```
    """

    name: str
    options: Mapping[str, Any] = {}

    @classmethod
    def parse(cls, given: GivenEncoder) -> EncoderSpec:
        """An encoder as recipes, records and flags write it: its name, or a mapping of `name` and its options.

        Raises:
            InputError: it is neither.
        """
        if isinstance(given, EncoderSpec):
            return given
        if isinstance(given, str):
            return cls(given)
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise InputError(f"An encoder is a name, or a mapping of `name` and its options, and not {given!r}.")
        return cls(given["name"], {option: value for option, value in given.items() if option != "name"})

    def __str__(self) -> str:
        """For people: "glove", "word2vec (window=3)"."""
        options = ", ".join(f"{option}={value}" for option, value in self.options.items())
        return f"{self.name} ({options})" if options else self.name

    def to_dict(self) -> str | dict[str, Any]:
        """As [`parse`] takes it: JSON values."""
        return {"name": self.name, **self.options} if self.options else self.name


GivenEncoder = str | Mapping[str, Any] | EncoderSpec
