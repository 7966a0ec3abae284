"""Images as the page shows them: small, and inside the page itself, so that it works under any address."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from functools import lru_cache, partial
from weakref import ReferenceType, WeakKeyDictionary, ref

from PIL import Image

from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.utils.images import load_image

MAX_EDGE = 384  # pixels of the longer edge; sharp on screens of high density
MAX_CACHED = 1_000  # images per gallery

# Weakly by gallery: when a visitor's own gallery is removed, its images go with it.
_readers: WeakKeyDictionary[Gallery, Callable[[int], str | None]] = WeakKeyDictionary()


def image_of(gallery: Gallery, position: int) -> str | None:
    """The image of an item as a data URI; None where the data set has none."""
    if gallery not in _readers:
        _readers[gallery] = lru_cache(maxsize=MAX_CACHED)(partial(_read, ref(gallery)))
    return _readers[gallery](position)


def _read(reference: ReferenceType[Gallery], position: int) -> str | None:
    gallery = reference()
    assert gallery is not None  # whoever asks has it
    image = gallery.image(position, min_side=MAX_EDGE)
    return None if image is None else data_uri(image)


def data_uri(image: Image.Image) -> str:
    """An image, scaled down where it is large: drawings and transparent images as PNG, photos as JPEG.

    Example:
    ```python
    >>> from PIL import Image
    >>> from cmr_hub.space.components.images import data_uri
    >>> data_uri(Image.new("RGBA", (72, 72)))[:22]
    'data:image/png;base64,'
    ```
    """
    is_drawing = image.has_transparency_data or image.mode in ("P", "1")
    image = image.convert("RGBA") if is_drawing else load_image(image)
    image.thumbnail((MAX_EDGE, MAX_EDGE), Image.Resampling.LANCZOS)
    kind, options = ("PNG", {}) if is_drawing else ("JPEG", {"quality": 85})
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
