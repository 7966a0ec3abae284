"""What a model looks at in an image and a text of a gallery."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from cmr_hub.errors import InputError
from cmr_hub.retrieval.explanation import Explanation
from cmr_hub.retrieval.gallery import Gallery

from .examples import typical_items
from .queries import MAX_TEXT, MIN_SIDE, Query, open_upload

IMAGES = 6  # to choose from


@dataclass(frozen=True)
class Pair:
    """What is looked at.

    Attributes:
        query: whose image: an item or an upload.
        text: the text.
    """

    query: Query
    text: str


def look(gallery: Gallery, pair: Pair) -> Explanation:
    """Explain what a gallery's model looks at.

    Raises:
        InputError: the image or the text cannot be used, there is no such item, or it has no image.
    """
    if not pair.text.strip():
        raise InputError("There is no text to read: type at least one word.")
    if len(pair.text) > MAX_TEXT:
        raise InputError(
            f"The text has {len(pair.text):,} characters, more than the {MAX_TEXT:,} allowed. Shorten it."
        )
    return gallery.retriever.explain(_image_of(gallery, pair.query), pair.text)


def pair_of(gallery: Gallery, query: Query) -> Pair:
    """An image and a text, of which a question has only one: the other one is what is found first."""
    if query.kind == "text":
        return Pair(Query("item", gallery.search(text=query.value, target="image", k=1)[0].id), query.value)
    if query.kind == "image":
        texts = gallery.search(image=open_upload(query.value), target="text", k=1)[0].texts
    else:
        texts = gallery.texts(gallery.position(query.value))
    return Pair(query, texts[0] if texts else "")


def images_to_choose(gallery: Gallery, query: Query) -> list[int]:
    """Positions of other images: those that a text finds, otherwise typical ones."""
    if query.kind != "text":
        return typical_items(gallery, IMAGES)
    return [hit.position for hit in gallery.search(text=query.value, target="image", k=min(IMAGES, len(gallery)))]


def _image_of(gallery: Gallery, query: Query) -> Image.Image:
    if query.kind == "image":
        return open_upload(query.value)
    image = gallery.image(gallery.position(query.value), min_side=MIN_SIDE)
    if image is None:
        raise InputError(f"The item {query.value!r} has no image in this gallery. Look at one of yours.")
    return image
