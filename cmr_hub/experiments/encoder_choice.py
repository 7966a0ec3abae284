"""With which encoders methods are measured: the recipes' own, or others in their place."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec
import yaml


class EncoderChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Encoders that replace those of the recipes.

    Attributes:
        image, text: an encoder, as recipes write it; None for the recipe's own.
        methods: the methods that are measured with it; empty for all.

    Example:
    ```python
    >>> EncoderChoice(text="minilm", methods=["cca"])
    EncoderChoice(image=None, text='minilm', methods=['cca'])
    >>> str(EncoderChoice(text="minilm"))
    '{text: minilm}'
    >>> EncoderChoice(text={"name": "word2vec", "algorithm": "cbow"}).folder
    'text-word2vec-algorithm-cbow'
    ```
    """

    image: str | dict[str, Any] | None = None
    text: str | dict[str, Any] | None = None
    methods: list[str] = []

    @property
    def encoders(self) -> dict[Any, str | dict[str, Any]]:
        """Modality -> encoder, of those that are replaced."""
        return {modality: encoder for modality in ("image", "text") if (encoder := getattr(self, modality))}

    def __str__(self) -> str:
        """The choice as YAML on one line: "{text: minilm, methods: [cca]}"."""
        return one_line(msgspec.to_builtins(self))

    @property
    def folder(self) -> str:
        """Name of the folder with what is trained with it; empty for the recipes' own encoders."""
        words = [f"{modality} {json.dumps(encoder)}" for modality, encoder in self.encoders.items()]
        return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower().replace('"name":', "")).strip("-")


def one_line(content: Any) -> str:
    """A mapping as YAML on one line; a text as it is.

    Example:
    ```python
    >>> one_line({"name": "word2vec", "window": 3})
    '{name: word2vec, window: 3}'
    ```
    """
    if isinstance(content, str):
        return content
    return yaml.safe_dump(content, default_flow_style=True, sort_keys=False, width=math.inf).strip()


RECIPES_OWN = EncoderChoice()
