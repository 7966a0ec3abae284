"""The HTML next to the map: what the pointer is on, what was asked, and what the colours mean."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from cmr_hub.data.columns import Modality
from cmr_hub.modeling.embeddings import BINARY, kind_of
from cmr_hub.retrieval.gallery import Gallery

from ..services.preparation import Progress
from ..services.queries import Answer
from .bits import bit_pattern, distance_in_words
from .items import NOUNS, cards_of, heading_of, item_of
from .map_figure import ClassColour
from .rendering import render

MAX_TEXTS = 5  # of an item on its card


def item_card(
    gallery: Gallery, position: int, modality: Modality, target: Modality, question: np.ndarray | None
) -> Markup:
    """An item: its image, its texts, its classes, and of hashing methods its codes.

    Args:
        gallery: where.
        position: the item's row.
        modality: which of its points is meant.
        target: the modality that the question is compared with.
        question: `(1, d)` embedding of what was asked, if anything was.
    """
    item = item_of(gallery, position)
    patterns, sentences = _codes(gallery, position, target, question)
    return render(
        "map_card",
        item=item,
        modality=NOUNS[modality][0].capitalize(),
        texts=gallery.texts(position)[:MAX_TEXTS] or (item.name,),
        patterns=patterns,
        sentences=sentences,
    )


def no_card(question: np.ndarray | None) -> Markup:
    """The card as long as nothing has been pointed at: of hashing methods with the code of the question."""
    patterns = []
    if question is not None and kind_of(question) is BINARY:
        patterns.append(bit_pattern("What was asked", question[0]))
    return render("map_card", item=None, patterns=patterns, sentences=[])


def _codes(
    gallery: Gallery, position: int, target: Modality, question: np.ndarray | None
) -> tuple[list[Markup], list[str]]:
    """The codes of an item and of the question, and how far apart they are; nothing where embeddings are no codes."""
    codes = {modality: embeds[position] for modality, embeds in gallery.embeds.items()}
    if any(kind_of(code) is not BINARY for code in codes.values()):
        return [], []
    patterns, sentences = [], []
    for modality, code in codes.items():
        other = next((codes[each] for each in codes if each != modality), None)
        patterns.append(bit_pattern(NOUNS[modality][0].capitalize(), code, other))
    if len(codes) == 2:
        sentences.append(f"Image and text {distance_in_words(*codes.values())}.")
    if question is not None:
        patterns.append(bit_pattern("What was asked", question[0], codes[target]))
        sentences.append(f"What was asked and the {NOUNS[target][0]} {distance_in_words(question[0], codes[target])}.")
    sentences.append("A square is a bit, filled where it is set; differing ones are outlined.")
    return patterns, sentences


def question(answer: Answer, star: np.ndarray, rings: np.ndarray) -> Markup:
    """What was asked and its nearest, as buttons; with where they lie, for the map.

    Args:
        answer: what was found.
        star: `(2,)` position of the question.
        rings: `(k, 2)` positions of the hits.
    """
    asked = answer.asked
    one, many = NOUNS[asked.target]
    nearest = f"{len(answer.hits)} nearest {many} are" if len(answer.hits) != 1 else f"nearest {one} is"
    return render(
        "map_question",
        heading=heading_of(answer.gallery, asked.query),
        marks=json.dumps({"star": star.tolist(), "rings": rings.T.tolist()}),
        nearest=f"its {nearest} ringed{f' of class {asked.label}' if asked.label else ''}",
        cards=cards_of(answer.gallery, answer.hits, asked.target),
        notes=answer.notes,
    )


def legend(classes: Sequence[ClassColour]) -> Markup:
    """The classes as buttons that show and hide them, and what the shapes mean."""
    return render("map_legend", classes=classes)


def about(words: str) -> Markup:
    """What is drawn, and how it is to be read."""
    return render("map_about", words=words)


def preparing(problem: str, progress: Progress | None) -> Markup:
    """Why there is no t-SNE, and how far it is."""
    return render("map_preparing", problem=problem, progress=progress)
