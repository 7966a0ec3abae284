"""One query to one gallery, the same for the page and for the API."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from PIL.Image import Image

from cmr_hub.data.columns import Modality
from cmr_hub.errors import InputError
from cmr_hub.retrieval.gallery import Gallery, Hit
from cmr_hub.retrieval.queries import Query as Terms
from cmr_hub.retrieval.queries import Term
from cmr_hub.utils.images import load_image

from .average_precision import average_precision_of
from .catalogue import Catalogue
from .received_files import received_file

MAX_TEXT = 2000
MAX_TERMS = 20  # of one query
WITHOUT = -0.5  # weight of what hits are to be unlike
MIN_SIDE = 1024  # a large image may be scaled down to this; no encoder looks closer


@dataclass(frozen=True)
class Query:
    """What somebody is looking for.

    Attributes:
        kind: what `value` is: a text, the path of an uploaded image, or the id of an item of the gallery.
        value: the query itself.
        modality: of an item, whether its image or its text is the query; None for the one that the target is not.
        more: texts and items that are part of the query, and their weights.
        weight: of the first, where there are more.
    """

    kind: Literal["text", "image", "item"]
    value: str
    modality: Modality | None = None
    more: tuple[Term, ...] = ()
    weight: float = 1.0

    def together(self, words: str = "", without: str = "") -> Query:
        """The query together with words that hits are like, and words that they are unlike; "" for none."""
        added = [Term(text=words)] if words.strip() else []
        added += [Term(text=without, weight=WITHOUT)] if without.strip() else []
        return replace(self, more=(*self.more, *added))

    @property
    def words(self) -> str:
        """The words that were added to an image; "" for none."""
        return next((str(term.text) for term in self.more if term.kind == "text" and term.weight > 0), "")

    @property
    def without(self) -> str:
        """The words that hits are to be unlike; "" for none."""
        return next((str(term.text) for term in self.more if term.kind == "text" and term.weight < 0), "")

    def terms(self) -> dict[str, str | dict[str, float]]:
        """The query as arguments of `Gallery.search`; an image by its path.

        Raises:
            InputError: a text or an item is in it twice, or it has too many parts.
        """
        if len(self.more) >= MAX_TERMS:
            raise InputError(f"The query has {len(self.more) + 1} parts, more than the {MAX_TERMS} allowed.")
        terms: dict[str, dict[str, float]] = {self.kind: {self.value: self.weight}}
        for term in self.more:
            weights = terms.setdefault(term.kind, {})
            if term.value in weights:
                raise InputError(f"The {term.kind} {term.value!r} is in the query twice: leave one out.")
            weights[term.value] = term.weight
        # One alone, of weight 1, is written as it is.
        return {kind: next(iter(one)) if [*one.values()] == [1.0] else one for kind, one in terms.items()}

    @property
    def default_target(self) -> Modality:
        """What such a query looks for, unless told otherwise: the other kind of thing; images where it has words."""
        return "text" if self.kind == "image" and not self.words else "image"


@dataclass(frozen=True)
class Asked:
    """A whole question: everything but where and by which model it is answered.

    Attributes:
        query: what somebody is looking for.
        target: which modality of the items is compared.
        k: how many hits.
        label: the class that hits must have, if any.
        focus: from 0, the same kind of thing, to 1, this very thing; None for the checkpoint's own.
        min_score: the least score of hits, or "auto" for what is no chance find; None for any.
        is_opening: whether nobody has asked it: a gallery opens on it.
    """

    query: Query
    target: Modality
    k: int = 10
    label: str | None = None
    focus: float | None = None
    min_score: float | Literal["auto"] | None = None
    is_opening: bool = field(default=False, compare=False)

    def source(self, gallery: Gallery) -> Modality:
        """Which modality of an item asks in a gallery."""
        return self.query.modality or gallery.other_modality(self.target)

    def of(self, gallery: Gallery) -> Asked:
        """The question as a gallery can answer it: without a focus where embeddings have one part."""
        default = gallery.retriever.default_focus
        return replace(self, focus=None) if default is None or self.focus == default else self


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        gallery: where.
        asked: the question.
        hits: best first.
        seconds: time from the query to the hits, encoding included.
        notes: what speaks against the hits, as sentences; see `Gallery.notes`.
    """

    gallery: Gallery
    asked: Asked
    hits: list[Hit]
    seconds: float
    notes: Sequence[str] = ()

    @cached_property
    def average_precision(self) -> float | None:
        """Of a query whose class is known, over the whole gallery; None of others."""
        query = self.asked.query
        if query.kind != "item" or query.more:
            return None
        source, target = self.asked.source(self.gallery), self.asked.target
        return average_precision_of(self.gallery, query.value, source, target, self.asked.focus)


def ask(catalogue: Catalogue, asked: Asked, gallery: str = "", method: str = "") -> Answer:
    """Search.

    Args:
        catalogue: the galleries.
        asked: the question.
        gallery: name of the gallery; by default the default one.
        method: the model; by default the gallery's first.

    Raises:
        UnknownNameError: there is no such gallery or model.
        InputError: the query, `k`, the class or the focus cannot be used.
        DatasetError, CheckpointError: the gallery is not there or damaged.
    """
    opened, query = catalogue.open(gallery, method), asked.query
    for text in [query.value] * (query.kind == "text") + [term.text or "" for term in query.more]:
        if len(text) > MAX_TEXT:
            raise InputError(f"The text has {len(text):,} characters, more than the {MAX_TEXT:,} allowed. Shorten it.")
    if not isinstance(asked.k, int):
        raise InputError(f"k must be a whole number, and is {asked.k!r}.")
    options: dict[str, Any] = {"target": asked.target, "k": asked.k, "label": asked.label, "focus": asked.focus}
    started = time.perf_counter()
    terms = opened_query(query)
    hits = opened.search(terms, min_score=asked.min_score, **options)
    seconds = time.perf_counter() - started
    return Answer(opened, asked, hits, seconds, opened.notes(terms))


def opened_query(query: Query) -> Terms:
    """A question as a gallery takes it, its image opened."""
    query.terms()  # refuses what is in it twice
    value: Any = open_upload(query.value) if query.kind == "image" else query.value
    first: dict[str, Any] = {query.kind: value}
    return Terms([Term(**first, weight=query.weight, source=query.modality), *query.more])


def open_upload(path: str) -> Image:
    """An uploaded image.

    Raises:
        InputError: it was not uploaded here or is gone, is no image, or is refused; the message names the file, and
            not where the server keeps it.
    """
    file = received_file(path)
    try:
        return load_image(file, min_side=MIN_SIDE, reduce=True)
    except InputError as error:
        raise InputError(str(error).replace(str(file), file.name)) from error
