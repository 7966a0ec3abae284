"""Which index fits: what `index="auto"` stands for, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from cmr_hub.modeling.embeddings import BINARY, REAL_VALUED

EXACT_UP_TO = 1_000_000  # items; a query of 128 dimensions takes some 30 ms there (benchmarks/indexes.py)


@dataclass(frozen=True)
class Choice:
    """An index, and why it.

    Attributes:
        name: as `INDEXES` has it.
        reason: for people.
        options: what it is made with.
    """

    name: str
    reason: str
    options: dict[str, Any] = field(default_factory=dict)


def choose_index(representation: str, items: int) -> Choice:
    """The index for so many embeddings of a kind, one of [`~cmr_hub.modeling.embeddings.EMBEDDING_KINDS`].

    Example:
    ```python
    >>> choose_index("real-valued", 10_921).name, choose_index("binary", 10_000_000).name
    ('exact', 'hamming')
    ```
    """
    return _CHOICES[representation](items)


def _for_codes(items: int) -> Choice:
    return Choice("hamming", f"{items:,} codes: comparing all of them is exact, and quick up to some ten million")


def _for_vectors(items: int) -> Choice:
    if items <= EXACT_UP_TO:
        return Choice("exact", f"{items:,} items: comparing all of them is exact, and quick up to {EXACT_UP_TO:,}")
    if find_spec("faiss") is None:
        return Choice("exact", f"{items:,} items would be quicker in an index of faiss, which is not installed")
    return Choice(
        "faiss", f"{items:,} items, more than {EXACT_UP_TO:,}: inverted lists look at a few in a hundred of them"
    )


_CHOICES = {BINARY.name: _for_codes, REAL_VALUED.name: _for_vectors}
