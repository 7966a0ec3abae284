"""The HTML of the answers of several models next to one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from cmr_hub.errors import CMRError
from cmr_hub.methods import LEARNS_FROM, METHODS
from cmr_hub.modeling.embeddings import described
from cmr_hub.retrieval.gallery import Gallery

from ..services.catalogue import Source
from ..services.queries import Answer, Query
from .items import Card, cards_of, duration, heading_of, same_class_count
from .rendering import render


@dataclass(frozen=True)
class AnswerColumn:
    """One model's answer.

    Attributes:
        model: key of the model.
        title: what people call it.
        kind: what it learns from, and what it gives.
        problem: why it has no answer; empty where it has one.
        cards: its hits.
        notes: what speaks against them.
        average_precision: over the whole gallery, where it is known.
        same_class: how many of the hits share a class with the query, where that is known.
        duration: how long the search took.
    """

    model: str
    title: str
    kind: str
    problem: str = ""
    cards: Sequence[Card] = ()
    notes: Sequence[str] = ()
    average_precision: float | None = None
    same_class: int | None = None
    duration: str = ""


def side_by_side(query: Query, gallery: Gallery, answers: Mapping[str, tuple[Source, Answer | CMRError]]) -> Markup:
    """The question, how far the answers are apart, and one column per model: its answer, or why it has none.

    Args:
        query: what was asked.
        gallery: where.
        answers: key of a model -> the model and what it answered.
    """
    columns = [_column(model, source, answer) for model, (source, answer) in answers.items()]
    known = [column.average_precision for column in columns if column.average_precision is not None]
    return render(
        "compare",
        heading=heading_of(gallery, query),
        span=(min(known), max(known)) if len(known) > 1 else None,
        columns=columns,
    )


def _column(model: str, source: Source, answer: Answer | CMRError) -> AnswerColumn:
    learns = f"learns from {LEARNS_FROM[METHODS[source.method].supervision]}"
    if isinstance(answer, CMRError):
        return AnswerColumn(model, source.title, learns, problem=str(answer))
    return AnswerColumn(
        model,
        source.title,
        f"{learns}, {described(next(iter(answer.gallery.embeds.values())))}",
        cards=cards_of(answer.gallery, answer.hits, answer.asked.target),
        notes=answer.notes,
        average_precision=answer.average_precision,
        same_class=same_class_count(answer.hits),
        duration=duration(answer.seconds),
    )
