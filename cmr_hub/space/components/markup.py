"""The HTML of the page's own parts. Whatever comes from data or from a person passes through `escape`."""

from __future__ import annotations

from html import escape

from cmr_hub.data.columns import Modality
from cmr_hub.retrieval.gallery import Gallery, Hit

from ..services.catalogue import Entry
from ..services.examples import example_text
from ..services.links import link_to
from ..services.preparation import Progress
from ..services.queries import Answer, Asked, Query, open_upload
from .images import data_uri, image_of

MAX_CAPTION = 400  # characters of a text on a card; an article would fill the page
NOUNS: dict[Modality, tuple[str, str]] = {"image": ("image", "images"), "text": ("text", "texts")}
CHECK = (
    '<svg class="cmr-check" viewBox="0 0 16 16" role="img" aria-label="same class"><path d="M3.5 8.5l3 3 6-7"/></svg>'
)


def results(answer: Answer, entry: Entry, method: str) -> str:
    """The query, what came of it in one line, and the hits.

    Args:
        answer: what was found.
        entry, method: where and by which model, for the link to it.
    """
    target = answer.asked.target
    cards = "".join(hit_card(answer.gallery, hit, target, rank) for rank, hit in enumerate(answer.hits, 1))
    return (
        f'<section class="cmr-results" aria-label="Results"><div class="cmr-query">'
        f"{asked_heading(answer.gallery, answer.asked.query)}"
        f'<p class="cmr-summary">{_summary(answer)}{_link(answer.asked, entry, method)}</p></div>'
        f'<ol class="cmr-hits cmr-{target}s">{cards}</ol></section>'
    )


def _link(asked: Asked, entry: Entry, method: str) -> str:
    """A button that copies the answer's address; a visitor's own gallery has none that outlasts the visit."""
    if entry.is_own or asked.query.kind == "image":
        return ""
    link = escape(link_to(entry.info.name, method, asked))
    return f' <button type="button" class="cmr-copy" data-link="{link}">Copy link</button>'


def asked_heading(gallery: Gallery, query: Query) -> str:
    """What is asked, as a heading: the words, the uploaded image, or the item of the gallery."""
    if query.kind == "text":
        return f'<h2 class="cmr-asked">“{escape(_cut(query.value))}”</h2>'
    if query.kind == "image":
        image = data_uri(open_upload(query.value))
        return f'<img class="cmr-asked" src="{image}" alt=""><h2 class="cmr-asked">Your image</h2>'
    position = gallery.position(query.value)
    image = image_of(gallery, position)
    shown = f'<img class="cmr-asked" src="{image}" alt="{escape(name_of(gallery, position))}">' if image else ""
    labels = escape(", ".join(gallery.labels(position)))
    return f'{shown}<h2 class="cmr-asked">{escape(name_of(gallery, position))}<small>{labels}</small></h2>'


def _summary(answer: Answer) -> str:
    asked = answer.asked
    one, many = NOUNS[asked.target]
    found = f"{len(answer.hits)} nearest {many}" if len(answer.hits) != 1 else f"The nearest {one}"
    parts = [f"{found} of {len(answer.gallery):,}"]
    if asked.label:
        parts[0] = f"{found} of class {escape(asked.label)}"
    if asked.query.kind == "item":
        parts[0] += f" to its {NOUNS[asked.source(answer.gallery)][0]}"
        marks = [hit.same_class for hit in answer.hits]
        if marks and None not in marks:
            parts.append(f"{CHECK}<b>{sum(marks)} of {len(marks)}</b> share its class")
    if answer.average_precision is not None:
        meaning = "average precision of this query over the whole gallery: relevant is what shares its class"
        parts.append(f'<abbr title="{meaning}">AP</abbr> <b>{answer.average_precision:.3f}</b>')
    parts.append(duration(answer.seconds))
    return " <i>·</i> ".join(f"<span>{part}</span>" for part in parts)


def duration(seconds: float) -> str:
    """How long a search took, in milliseconds."""
    milliseconds = 1000 * seconds
    return f"{milliseconds:.{0 if milliseconds >= 10 else 1}f} ms"


def hit_card(gallery: Gallery, hit: Hit, target: Modality, rank: int) -> str:
    """One hit: a button that makes the item the next query."""
    image, name = image_of(gallery, hit.position), name_of(gallery, hit.position)
    tile = f'<img src="{image}" alt="{escape(name)}" loading="lazy">' if image else "<span>no image</span>"
    texts = hit.texts[:1] if target == "image" else hit.texts
    words = "".join(f"<span>{escape(_cut(text))}</span>" for text in texts) or f"<span>{escape(name)}</span>"
    same = CHECK if hit.same_class else ""
    width = round(100 * min(max(hit.score, 0.0), 1.0))
    return (
        f'<li><button type="button" class="cmr-hit" data-item="{escape(hit.id)}" title="Search from this item">'
        f'<span class="cmr-tile">{tile}</span><span class="cmr-words">{words}</span>'
        f'<span class="cmr-meta"><span class="cmr-label">{same}{escape(", ".join(hit.labels))}</span>'
        f'<span class="cmr-score" title="{score_meaning(gallery, hit)}; rank {rank}"><span class="cmr-bar">'
        f'<i style="width:{width}%"></i></span>{hit.score:.2f}</span></span></button></li>'
    )


def score_meaning(gallery: Gallery, hit: Hit) -> str:
    """What a score is: of codes, the number of bits that differ says more than the cosine of their signs."""
    if gallery.retriever.model.representation != "binary":
        return "cosine similarity"
    bits = gallery.retriever.model.config.embed_dim
    return f"Hamming distance {round((1 - hit.score) * bits / 2)} of {bits} bits"


def name_of(gallery: Gallery, position: int) -> str:
    """What to call an item: its first text, or its id where the data set has no texts."""
    texts = gallery.texts(position)
    return _cut(texts[0]) if texts else f"Item {gallery.ids[position]}"


def examples(gallery: Gallery, positions: list[int], takes_texts: bool) -> str:
    """Queries to start from: words where they can be typed, and items."""
    texts = [example_text(gallery, position) for position in positions] if takes_texts else []
    words = "".join(
        f'<button type="button" class="cmr-chip" data-text="{escape(text)}">{escape(text)}</button>'
        for text in texts
        if text
    )
    items = "".join(_item_chip(gallery, position) for position in positions)
    lines = [f'<div class="cmr-tries"><span>Try</span>{words}</div>'] if words else []
    lines.append(f'<div class="cmr-tries"><span>{"or start from" if words else "Start from"}</span>{items}</div>')
    return "".join(lines)


def _item_chip(gallery: Gallery, position: int) -> str:
    image, name = image_of(gallery, position), name_of(gallery, position)
    label = escape(", ".join(gallery.labels(position)) or name)
    inside = f'<img src="{image}" alt="{escape(name)}">' if image else label
    kind = "cmr-thumb" if image else "cmr-chip"
    return (
        f'<button type="button" class="{kind}" data-item="{escape(gallery.ids[position])}" '
        f'title="{escape(name)}">{inside}</button>'
    )


def notice(message: str) -> str:
    """What went wrong and what to do, in the place of results."""
    return f'<div class="cmr-notice" role="alert">{escape(message)}</div>'


def about(entry: Entry, gallery: Gallery) -> str:
    """What is searched, whose it is, and what the model takes."""
    modality = gallery.retriever.processor
    limits = (
        ""
        if modality.text_encoder.accepts_raw_input and modality.image_encoder.accepts_raw_input
        else (
            " This model was trained on features that the data set's authors released, so it takes neither words nor "
            "images of yours: start from an item."
        )
    )
    classes = f" in {len(gallery.class_names)} classes" if gallery.class_names else ""
    pairs = "pairs of image and text" if len(gallery.embeds) > 1 else f"{next(iter(gallery.embeds))}s alone"
    title, info = escape(entry.info.title), entry.info
    source = f'<a href="{escape(info.homepage)}" rel="noopener" target="_blank">{title}</a> · {escape(info.license)}'
    if entry.is_own:
        source = f"{title} · yours alone, and removed after your visit"
    return (
        f'<p class="cmr-about">{len(gallery):,} {pairs}{classes}, embedded by '
        f"<b>{escape(gallery.retriever.name or '')}</b>.{limits}<br>{source}</p>"
    )


def needs(entry: Entry, progress: Progress | None) -> str:
    """What a gallery that is not on this machine needs, and how far its preparation is."""
    pairs = sum(entry.info.sizes.values())
    classes = f" in {len(entry.info.classes)} classes" if entry.info.classes else ""
    size = f"{pairs:,} pairs of image and text{classes}. " if pairs else ""
    if entry.is_ready:
        lead = "With the original images and texts this gallery can also be searched by your own words and images."
    else:
        lead = f"{size}This gallery is not on this machine yet."
    return (
        f'<section class="cmr-needs"><h2>{escape(entry.title)}</h2><p>{lead} Preparing it downloads the data from '
        f"{escape(entry.info.source)}, encodes them, trains the models, measures them and builds the gallery. It can "
        f"be stopped at any time and goes on from there.</p>{_progress(progress)}"
        f"<details><summary>By hand, and terms</summary><p>{escape(entry.info.how_to_get)}</p>"
        f"<p>Licence: {escape(entry.info.license)}</p></details></section>"
    )


def _progress(progress: Progress | None) -> str:
    if progress is None:
        return ""
    if progress.state == "failed":
        return notice(progress.message)
    percent = round(100 * progress.fraction)
    return (
        f'<div class="cmr-progress" role="progressbar" aria-label="Preparation" aria-valuenow="{percent}">'
        f'<i style="width:{percent}%"></i></div>'
        f'<p class="cmr-stage"><span>{escape(progress.message)}</span><span>{percent} %</span></p>'
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CAPTION else f"{text[:MAX_CAPTION].rsplit(' ', 1)[0]} …"
