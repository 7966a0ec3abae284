"""What a gallery is searched by: one text, image or item, or several weighted ones together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any, Literal

import numpy as np

from cmr_hub.data.columns import Modality
from cmr_hub.errors import InputError
from cmr_hub.modeling.combination import check_weight

Kind = Literal["text", "image", "item"]
KINDS: tuple[Kind, ...] = ("text", "image", "item")
IMAGE_CELL = {"bytes", "path"}  # keys of an image as data sets store it

NO_QUERY = "Give a query: text=…, image=… or item=…, or several of them, which are one query together."


@dataclass(frozen=True)
class Term:
    """One text, image or item of a query, and how much it counts.

    Attributes:
        text: a text.
        image: an image: path, PIL image or array.
        item: the id of an item of the gallery.
        weight: relative to the other terms of the query; below 0 hits are to be unlike it.
        source: with `item`, the modality that is searched by; by default the one that the target is not.

    Raises:
        InputError: none or several of text, image and item, a weight that is no finite number, or no such modality.

    Example:
    ```python
    >>> Term(text="snow", weight=-0.5).kind
    'text'
    ```
    """

    text: str | None = None
    image: Any | None = None
    item: str | None = None
    weight: float = 1.0
    source: Modality | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.text, self.image, self.item)) != 1:
            raise InputError("A term of a query is exactly one of text=…, image=… and item=….")
        try:
            object.__setattr__(self, "weight", check_weight(self.weight))
        except InputError as error:
            raise InputError(f"{error} It is that of the {self.kind} {self.value!r:.60}.") from error
        if self.source not in (None, "image", "text"):
            raise InputError(f"source is 'image' or 'text', not {self.source!r}.")

    @property
    def kind(self) -> Kind:
        """Which of text, image and item it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def value(self) -> Any:
        """The text, the image or the item's id."""
        return getattr(self, self.kind)


@dataclass(frozen=True)
class Query:
    """One query of one or several weighted terms.

    Attributes:
        terms: at least one with a weight above 0.

    Raises:
        InputError: there is no term, or none with a weight above 0.

    Example:
    ```python
    >>> query = Query([Term(text="horse"), Term(text="stripes"), Term(text="snow", weight=-0.5)])
    >>> query.is_combined
    True
    ```
    """

    terms: Sequence[Term]

    def __post_init__(self) -> None:
        terms = (self.terms,) if isinstance(self.terms, Term) else tuple(self.terms)
        for term in terms:
            if not isinstance(term, Term):
                raise InputError(f"A query is made of terms, such as Term(text='snow', weight=-0.5), not of {term!r}.")
        if not terms:
            raise InputError(NO_QUERY)
        if all(term.weight <= 0 for term in terms):
            raise InputError(
                "No term of the query has a weight above 0, and what hits are not like is no query by itself: add "
                "what they are to be like."
            )
        object.__setattr__(self, "terms", terms)

    @property
    def is_combined(self) -> bool:
        """Whether it has several terms."""
        return len(self.terms) > 1

    def values(self, kind: Kind) -> list[Any]:
        """The texts, images or items of its terms."""
        return [term.value for term in self.terms if term.kind == kind]


def read_queries(
    query: Query | Sequence[Query] | None = None,
    *,
    text: Any | None = None,
    image: Any | None = None,
    item: Any | None = None,
    source: Modality | None = None,
) -> Query | list[Query]:
    """The query, or the several queries, that a search is called with.

    What is given together is one query; a mapping is several terms of one query and their weights. A list, tuple,
    iterator or array of images is several queries; next to it, a single value belongs to each of them, and another
    list has one for each.

    Args:
        query: queries as they are, instead of the others.
        text: a text, a mapping of texts to weights, or several of these.
        image: an image, a mapping of paths to weights, or several of these.
        item: the id of an item, a mapping of ids to weights, or several of these.
        source: with `item`, which of its modalities is searched by.

    Raises:
        InputError: there is no query, lists differ in length, or a query cannot be one.

    Example:
    ```python
    >>> [term.weight for term in read_queries(text={"horse": 1, "snow": -0.5}, image="dog.jpg").terms]
    [1.0, -0.5, 1.0]
    >>> [query.values("text") for query in read_queries(text=["a cat", "a dog"])]
    [['a cat'], ['a dog']]
    ```
    """
    values = {"text": text, "image": image, "item": item}
    given = {kind: value for kind, value in values.items() if value is not None}
    if query is not None:
        if given or source is not None:
            raise InputError("Give a Query alone: what else is searched by is a term of it.")
        return _checked(query)
    if not given:
        raise InputError(NO_QUERY)
    lists = {kind: list(value) for kind, value in given.items() if _is_several(kind, value)}
    if not lists:
        return _query(given, source)
    lengths = {kind: len(several) for kind, several in lists.items()}
    if len(set(lengths.values())) > 1:
        counts = " and ".join(f"{length} of {kind}=" for kind, length in lengths.items())
        raise InputError(
            f"Lists are several queries, and these are not as many: {counts}. Several terms of one query are a "
            "mapping with their weights, such as text={'horse': 1, 'snow': -0.5}."
        )
    queries = []
    for number in range(count := next(iter(lengths.values()))):
        one = {kind: lists[kind][number] if kind in lists else value for kind, value in given.items()}
        try:
            queries.append(_query(one, source))
        except InputError as error:
            raise InputError(f"Query {number + 1} of {count}: {error}") from error
    return queries


def _checked(query: Any) -> Query | list[Query]:
    """Queries that were given as such."""
    if isinstance(query, Query):
        return query
    if isinstance(query, Term):
        return Query([query])
    if isinstance(query, list | tuple) and all(isinstance(one, Query) for one in query):
        return list(query)
    raise InputError(
        f"A query is a Query, or text=…, image=… or item=… by name, not {type(query).__name__} {query!r:.60}."
    )


def _query(given: Mapping[str, Any], source: Modality | None) -> Query:
    """One query of all that is given for it."""
    terms = [term for kind, value in given.items() for term in _terms(kind, value)]
    if source is not None:
        terms = [replace(term, source=source) if term.kind == "item" else term for term in terms]
    return Query(terms)


def _terms(kind: str, value: Any) -> list[Term]:
    """The terms of one kind: one, or those that a mapping weighs."""
    if not isinstance(value, Mapping) or (kind == "image" and _is_cell(value)):
        return [Term(**{kind: value})]
    if not value:
        raise InputError(f"{kind}={{}} has no term: write what is searched by, and its weight.")
    return [Term(**{kind: one}, weight=weight) for one, weight in value.items()]


def _is_cell(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping is one image, `{"bytes": …, "path": …}`, and not weights of several."""
    return not value.keys() - IMAGE_CELL and not any(isinstance(one, Number) for one in value.values())


def _is_several(kind: str, value: Any) -> bool:
    """Whether a value is several queries."""
    is_one = isinstance(value, str | bytes | bytearray | memoryview | Mapping) or (
        kind == "image" and isinstance(value, np.ndarray) and value.ndim < 4
    )
    return isinstance(value, Iterable) and not is_one
