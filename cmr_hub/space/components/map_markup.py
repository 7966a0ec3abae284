"""The HTML beside the map: what lies under the pointer, what was asked, and what the colours mean."""

from __future__ import annotations

import json
from html import escape

import numpy as np

from cmr_hub.data.columns import Modality
from cmr_hub.retrieval.gallery import Gallery

from ..services.preparation import Progress
from ..services.queries import Answer
from . import markup
from .bits import bit_pattern, distance_in_words
from .images import image_of
from .map_figure import ClassColour

MAX_TEXTS = 5  # of an item on its card
# What does not fit is scrolled to, by keyboard too.
CARD = '<section class="cmr-map-card" aria-label="What lies there" tabindex="0">'
HINT = "Point at the map to see what lies there, and click to search from it."
SHAPES = "".join(
    f'<span><i aria-hidden="true">{shape}</i> {meaning}</span>'
    for shape, meaning in (("●", "image"), ("▲", "text"), ("★", "what was asked"), ("◯", "its nearest"))
)


def item_card(
    gallery: Gallery, position: int, modality: Modality, target: Modality, question: np.ndarray | None
) -> str:
    """An item: its image, its texts, its classes, and of hashing methods its codes.

    Args:
        gallery: where.
        position: the item's row.
        modality: which of its points is meant.
        target: the side that the question is compared with.
        question: `(1, d)` embedding of what was asked, if anything was.
    """
    image, name = image_of(gallery, position), markup.name_of(gallery, position)
    tile = f'<span class="cmr-tile"><img src="{image}" alt="{escape(name)}"></span>' if image else ""
    texts = gallery.texts(position)[:MAX_TEXTS] or (name,)
    words = "".join(f"<p>{escape(text)}</p>" for text in texts)
    labels = escape(", ".join(gallery.labels(position)))
    which = f"{markup.NOUNS[modality][0].capitalize()}{f' · <b>{labels}</b>' if labels else ''}"
    codes = _codes(gallery, position, target, question)
    return f'{CARD}{tile}<p class="cmr-which">{which}</p>{words}{codes}</section>'


def no_card(question: np.ndarray | None) -> str:
    """The card as long as nothing has been pointed at."""
    code = ""
    if question is not None and question.dtype == np.uint8:
        code = f'<div class="cmr-codes">{bit_pattern("What was asked", question[0])}</div>'
    return f'{CARD}<p class="cmr-hint">{HINT}</p>{code}</section>'


def _codes(gallery: Gallery, position: int, target: Modality, question: np.ndarray | None) -> str:
    """The codes of an item and of the question; nothing where embeddings are no codes."""
    codes = {modality: embeds[position] for modality, embeds in gallery.embeds.items()}
    if any(code.dtype != np.uint8 for code in codes.values()):
        return ""
    patterns, sentences = [], []
    for modality, code in codes.items():
        other = next((codes[each] for each in codes if each != modality), None)
        patterns.append(bit_pattern(markup.NOUNS[modality][0].capitalize(), code, other))
    if len(codes) == 2:
        sentences.append(f"Image and text {distance_in_words(*codes.values())}.")
    if question is not None:
        patterns.append(bit_pattern("What was asked", question[0], codes[target]))
        sentences.append(
            f"What was asked and the {markup.NOUNS[target][0]} {distance_in_words(question[0], codes[target])}."
        )
    sentences.append("A square is a bit, filled where it is set; differing ones are outlined.")
    return f'<div class="cmr-codes">{"".join(patterns)}</div><p class="cmr-hint">{" ".join(sentences)}</p>'


def question(answer: Answer, star: np.ndarray, rings: np.ndarray) -> str:
    """What was asked and its nearest, as buttons; with where they lie, for the map.

    Args:
        answer: what was found.
        star: `(2,)` position of the question.
        rings: `(k, 2)` positions of the hits.
    """
    asked = answer.asked
    one, many = markup.NOUNS[asked.target]
    nearest = f"{len(answer.hits)} nearest {many} are" if len(answer.hits) != 1 else f"nearest {one} is"
    of_class = f" of class {escape(asked.label)}" if asked.label else ""
    marks = json.dumps({"star": star.tolist(), "rings": rings.T.tolist()})
    hits = "".join(markup.hit_card(answer.gallery, hit, asked.target, rank) for rank, hit in enumerate(answer.hits, 1))
    return (
        f'<section class="cmr-results" aria-label="What was asked" data-marks="{escape(marks)}">'
        f'<div class="cmr-query">{markup.asked_heading(answer.gallery, asked.query)}'
        f'<p class="cmr-summary"><span>★ on the map</span> <i>·</i> <span>its {nearest} ringed{of_class}</span></p>'
        f'</div><ol class="cmr-hits cmr-texts">{hits}</ol></section>'
    )


def legend(classes: list[ClassColour]) -> str:
    """The classes as buttons that show and hide them, and what the shapes mean."""
    shapes = f'<p class="cmr-shapes">{SHAPES}</p>'
    if not classes:
        return shapes
    buttons = "".join(
        f'<button type="button" class="cmr-chip" aria-pressed="true" data-group="{number}">'
        f'<i style="background:{each.colour}"></i>{escape(each.name)} <small>{each.items:,}</small></button>'
        for number, each in enumerate(classes)
    )
    return (
        f'<div class="cmr-legend" role="group" aria-label="Classes on the map">{buttons}'
        '<button type="button" class="cmr-chip" data-all="true">All</button>'
        f'<button type="button" class="cmr-chip" data-all="">None</button></div>{shapes}'
    )


def about(words: str) -> str:
    """What is drawn, and how it is to be read."""
    return f'<p class="cmr-about">{escape(words)}</p>'


def preparing(problem: str, progress: Progress | None) -> str:
    """Why there is no t-SNE, and how far it is."""
    if progress is None or progress.state in ("done", "stopped"):
        return f'<p class="cmr-hint">{escape(problem)}</p>'
    if progress.state == "failed":
        return markup.notice(progress.message)
    percent = round(100 * progress.fraction)
    return (
        f'<p class="cmr-hint">{escape(progress.message)}</p><div class="cmr-progress" role="progressbar" '
        f'aria-label="t-SNE" aria-valuenow="{percent}"><i style="width:{percent}%"></i></div>'
    )
