"""What the templates need to show of items and questions: names, images, texts and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cmr_hub.data.columns import Modality
from cmr_hub.retrieval.gallery import Gallery, Hit
from cmr_hub.retrieval.queries import Term

from ..services.queries import Query, open_upload
from .images import data_uri, image_of

MAX_CAPTION = 400  # characters of a text on a card; an article would fill the page
NOUNS: dict[Modality, tuple[str, str]] = {"image": ("image", "images"), "text": ("text", "texts")}
TARGETS: dict[Modality, str] = {"image": "Images", "text": "Texts"}  # as pickers name them


@dataclass(frozen=True)
class Item:
    """An item of a gallery.

    Attributes:
        id: its id.
        name: what to call it.
        image: as a data URI; None where the data set has none.
        labels: its classes in one line; empty where it has none.
    """

    id: str
    name: str
    image: str | None
    labels: str


@dataclass(frozen=True)
class Card(Item):
    """A hit.

    Attributes:
        texts: those to show.
        same_class: whether it shares a class with the query; None where that is unknown.
        score: its similarity.
        meaning: what the score is.
        rank: its place, from 1.
    """

    texts: Sequence[str]
    same_class: bool | None
    score: float
    meaning: str
    rank: int

    @property
    def percent(self) -> int:
        """The score as the length of a bar."""
        return round(100 * min(max(self.score, 0.0), 1.0))


@dataclass(frozen=True)
class Heading:
    """A question as a heading.

    Attributes:
        title: the words, or what the image is called.
        labels: classes of an item; None where it is no item.
        image, alt: the image that was asked from, if any, and its alternative text.
    """

    title: str
    labels: str | None = None
    image: str | None = None
    alt: str = ""


def item_of(gallery: Gallery, position: int) -> Item:
    """An item of a gallery, by its row."""
    labels = ", ".join(gallery.labels(position))
    return Item(gallery.ids[position], name_of(gallery, position), image_of(gallery, position), labels)


def card_of(gallery: Gallery, hit: Hit, target: Modality, rank: int) -> Card:
    """A hit with all that a card shows of it: of an image its first text, of a text all texts of its item."""
    name = name_of(gallery, hit.position)
    texts = [cut(text) for text in (hit.texts[:1] if target == "image" else hit.texts)]
    return Card(
        id=hit.id,
        name=name,
        image=image_of(gallery, hit.position),
        labels=", ".join(hit.labels),
        texts=texts or [name],
        same_class=hit.same_class,
        score=hit.score,
        meaning=score_meaning(gallery, hit),
        rank=rank,
    )


def cards_of(gallery: Gallery, hits: Sequence[Hit], target: Modality) -> list[Card]:
    """The cards of hits, best first."""
    return [card_of(gallery, hit, target, rank) for rank, hit in enumerate(hits, 1)]


def heading_of(gallery: Gallery, query: Query) -> Heading:
    """What is asked, as a heading: the words, the uploaded image, or the item of the gallery."""
    more = "".join(f" {'+' if term.weight > 0 else '-'} {_named(gallery, term)}" for term in query.more)
    if query.kind == "text":
        return Heading(f"“{cut(query.value)}”{more}")
    if query.kind == "image":
        return Heading(f"Your image{more}", image=data_uri(open_upload(query.value)))
    item = item_of(gallery, gallery.position(query.value))
    return Heading(f"{item.name}{more}", item.labels, item.image, item.name)


def _named(gallery: Gallery, term: Term) -> str:
    """A further part of a question in its heading."""
    return f"“{cut(str(term.text))}”" if term.kind == "text" else name_of(gallery, gallery.position(str(term.item)))


def score_meaning(gallery: Gallery, hit: Hit) -> str:
    """What a score is: of codes, the number of bits that differ says more than the cosine of their signs."""
    model = gallery.retriever.model
    if model.default_focus is not None:
        return "cosines of the class part and of the item part, weighed by the focus"
    if not model.is_hashing:
        return "cosine similarity"
    bits = model.config.embed_dim
    return f"Hamming distance {round((1 - hit.score) * bits / 2)} of {bits} bits"


def name_of(gallery: Gallery, position: int) -> str:
    """What to call an item: its first text, or its id where the data set has no texts."""
    texts = gallery.texts(position)
    return cut(texts[0]) if texts else f"Item {gallery.ids[position]}"


def same_class_count(hits: Sequence[Hit]) -> int | None:
    """How many hits share a class with the query; None where that is unknown."""
    marks = [hit.same_class for hit in hits if hit.same_class is not None]
    return sum(marks) if hits and len(marks) == len(hits) else None


def duration(seconds: float) -> str:
    """How long a search took, in milliseconds.

    Example:
    ```python
    >>> duration(0.0123), duration(0.0012)
    ('12 ms', '1.2 ms')
    ```
    """
    milliseconds = 1000 * seconds
    return f"{milliseconds:.{0 if milliseconds >= 10 else 1}f} ms"


def cut(text: str) -> str:
    """A text, cut after a word where it is too long for a card."""
    return text if len(text) <= MAX_CAPTION else f"{text[:MAX_CAPTION].rsplit(' ', 1)[0]} …"
