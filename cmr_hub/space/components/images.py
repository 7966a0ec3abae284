"""Images as the page shows them: small, and inside the page itself, so that it works under any address."""

from __future__ import annotations

import base64
import io
from functools import lru_cache

from PIL import Image

from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.utils.images import load_image

SIDE = 384  # pixels of the longer side at most; sharp on screens of high density


@lru_cache(maxsize=4096)
def image_of(gallery: Gallery, position: int) -> str | None:
    """The image of an item as a data URI; None where the data set has none."""
    image = gallery.image(position)
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
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    kind, options = ("PNG", {}) if is_drawing else ("JPEG", {"quality": 85})
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
