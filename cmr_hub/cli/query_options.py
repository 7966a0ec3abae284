"""Options of commands that search: the terms of one query, their weights, and the least score of hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import click

from cmr_hub.errors import InputError
from cmr_hub.utils.messages import name_some

from .options import Decorator, option, option_group

WITHOUT = -0.5  # weight of what hits are to be unlike


@dataclass(frozen=True)
class QueryTerms:
    """The terms of one query as they were typed.

    Attributes:
        text: texts and their weights.
        image: paths of images and their weights.
        item: ids of items of the gallery and their weights.
    """

    text: Mapping[str, float] = field(default_factory=dict)
    image: Mapping[str, float] = field(default_factory=dict)
    item: Mapping[str, float] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """The terms as `Gallery.search` and `Gallery.notes` take them: without kinds that have none."""
        kinds = {"text": self.text, "image": self.image, "item": self.item}
        return {kind: dict(terms) for kind, terms in kinds.items() if terms}


class TermWeight(click.ParamType):
    """`TERM=WEIGHT` as a pair of both; a term may have further equals signs."""

    name = "weight"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value[0], float(value[1])
        term, equals, weight = value.rpartition("=")
        try:
            return term, float(weight) if equals and term else self._refuse(value, param, ctx)
        except ValueError:
            return self._refuse(value, param, ctx)

    def _refuse(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        self.fail(f"write the weight of a term as TERM=WEIGHT, such as snow=-0.5, not {value!r}.", param, ctx)


class MinScore(click.ParamType):
    """A number from -1 to 1, or "auto"."""

    name = "score"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | Literal["auto"]:
        if value == "auto":
            return "auto"
        return float(click.FloatRange(-1, 1).convert(value, param, ctx))


def query_terms(
    words: Sequence[str],
    text: Sequence[str],
    image: Sequence[str],
    item: Sequence[str],
    without: Sequence[str],
    weight: Sequence[tuple[str, float]],
) -> QueryTerms:
    """The terms of a command line.

    Args:
        words: words of one text.
        text: further texts.
        image: paths of images.
        item: ids of items of the gallery.
        without: texts that hits are to be unlike.
        weight: terms and their weights, instead of 1, or of `without` -0.5.

    Raises:
        InputError: a term is there twice, or a weight is of none.

    Example:
    ```python
    >>> query_terms(["a", "horse"], ["stripes"], [], [], ["snow"], [("stripes", 2)]).arguments()
    {'text': {'a horse': 1.0, 'stripes': 2, 'snow': -0.5}}
    ```
    """
    texts = [" ".join(words)] * bool(words) + list(text)
    terms = QueryTerms(
        _once("text", [*((one, 1.0) for one in texts), *((one, WITHOUT) for one in without)]),
        _once("image", [(one, 1.0) for one in image]),
        _once("item", [(one, 1.0) for one in item]),
    )
    kinds = [dict(terms.text), dict(terms.image), dict(terms.item)]
    for term, value in weight:
        named = [kind for kind in kinds if term in kind]
        if not named:
            known = name_some([one for kind in kinds for one in kind], 5) or "there is none"
            raise InputError(f"The weight {term}={value:g} is of no term of the query: {known}.")
        for kind in named:
            kind[term] = value
    return QueryTerms(*kinds)


def _once(kind: str, terms: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Terms and their weights, each once."""
    weights: dict[str, float] = {}
    for term, weight in terms:
        if term in weights:
            raise InputError(f"The {kind} {term!r} is in the query twice: give it once, with --weight {term!r}=2.")
        weights[term] = weight
    return weights


query_options = option_group(
    "query",
    query_terms,
    click.argument("words", nargs=-1, metavar="[WORDS]..."),
    option("--text", several=True, metavar="TEXT", help="Further texts that hits are like."),
    option("--image", several=True, metavar="FILE", help="Images that hits are like."),
    option("--item", several=True, metavar="ID", help="Items of the gallery that hits are like."),
    option("--without", several=True, metavar="TEXT", help=f"Texts that hits are unlike (weight {WITHOUT})."),
    option(
        "--weight",
        several=True,
        type=TermWeight(),
        metavar="TERM=WEIGHT",
        help="Weights of terms of the query instead of 1, such as 'in the snow=0.7' or dog.jpg=2.",
    ),
)


def min_score_option() -> Decorator:
    """The least score of hits."""
    return option(
        "--min-score",
        type=MinScore(),
        metavar="SCORE",
        help="Leave out hits with a lower score, from -1 to 1; 'auto' for one that 1 % of pairs that do not belong "
        "together have by chance.",
    )
