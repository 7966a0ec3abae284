"""The HTML of the page's own parts: answers, examples, notices, and what a gallery is or needs."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.search import AUTO

from ..services.catalogue import Entry
from ..services.examples import example_text
from ..services.links import link_to
from ..services.preparation import Progress
from ..services.queries import Answer, Asked
from .items import NOUNS, cards_of, duration, heading_of, item_of, same_class_count
from .rendering import render


def results(answer: Answer, entry: Entry, method: str) -> Markup:
    """The query, a summary in one line, and the hits.

    Args:
        answer: what was found.
        entry: the data set that was searched, for the link to the answer.
        method: by which model, likewise.
    """
    asked = answer.asked
    return render(
        "results",
        heading=heading_of(answer.gallery, asked.query),
        found=_found(answer),
        notes=answer.notes,
        same_class=same_class_count(answer.hits) if asked.query.kind == "item" else None,
        average_precision=answer.average_precision,
        duration=duration(answer.seconds),
        link=_link(asked, entry, method),
        target=asked.target,
        cards=cards_of(answer.gallery, answer.hits, asked.target),
    )


def _link(asked: Asked, entry: Entry, method: str) -> str | None:
    """The answer's address; a visitor's own gallery has none that outlasts the visit."""
    return None if entry.is_private or asked.query.kind == "image" else link_to(entry.info.name, method, asked)


def _found(answer: Answer) -> str:
    asked = answer.asked
    one, many = NOUNS[asked.target]
    if not answer.hits and asked.min_score is not None:
        return f"No {one} scores above chance" if asked.min_score == AUTO else f"No {one} has a score so high"
    nearest = f"{len(answer.hits)} nearest {many}" if len(answer.hits) != 1 else f"The nearest {one}"
    found = f"{nearest} of class {asked.label}" if asked.label else f"{nearest} of {len(answer.gallery):,}"
    if asked.query.kind == "item" and not asked.query.more:
        found += f" to its {NOUNS[asked.source(answer.gallery)][0]}"
    found = found if asked.focus is None else f"{found} at focus {asked.focus:g}"
    return f"{found}, above chance" if asked.min_score == AUTO else found


def examples(gallery: Gallery, positions: Sequence[int], takes_texts: bool) -> Markup:
    """Queries to start from: words where they can be typed, and items."""
    texts = [text for position in positions if (text := example_text(gallery, position))] if takes_texts else []
    return render("examples", texts=texts, items=[item_of(gallery, position) for position in positions])


def notice(message: str) -> Markup:
    """What went wrong and what to do, in the place of results."""
    return render("notice", message=message)


def about(entry: Entry, gallery: Gallery) -> Markup:
    """What is searched, whose it is, and what the model takes."""
    processor = gallery.retriever.processor
    return render(
        "about",
        items=len(gallery),
        pairs="pairs of image and text" if len(gallery.embeds) > 1 else f"{next(iter(gallery.embeds))}s alone",
        classes=len(gallery.class_names),
        model=gallery.retriever.name or "",
        takes_all=processor.text_encoder.accepts_raw_input and processor.image_encoder.accepts_raw_input,
        is_own=entry.is_own,
        is_private=entry.is_private,
        info=entry.info,
    )


def needs(entry: Entry, progress: Progress | None) -> Markup:
    """What a gallery that is not on this machine needs, and how far its preparation is."""
    return render("needs", entry=entry, pairs=sum(entry.info.sizes.values()), progress=progress)
