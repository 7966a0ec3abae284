"""What an index that stores items keeps of each beside its embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import Image

if TYPE_CHECKING:
    from .gallery import Gallery


class ItemMetadata:
    """The items of a gallery as records, read from disk slice by slice.

    Args:
        gallery: whose items.

    Example:

    ```python
    >>> import cmr_hub
    >>> from cmr_hub.data import load_dataset
    >>> retriever = cmr_hub.from_pretrained("cmr/dscmr-emoji")
    >>> items = ItemMetadata(cmr_hub.Gallery.from_dataset(load_dataset("emoji")["test"], retriever))
    >>> sorted(items[0:1][0])
    ['id', 'image', 'labels', 'text']
    ```
    """

    def __init__(self, gallery: Gallery):
        self._gallery = gallery
        dataset = gallery.dataset
        self._images = "image" in dataset.column_names
        if self._images:
            self._paths = dataset.select_columns("image").cast_column("image", Image(decode=False))

    def __len__(self) -> int:
        return len(self._gallery)

    def __getitem__(self, rows: slice) -> list[dict[str, Any]]:
        """`id`, `labels` (names of classes), `text` (all texts of the item, a line each) and `image` (where the
        image is: its path, or its name in the gallery's shards; "" where there is none) of some rows."""
        numbers = range(*rows.indices(len(self)))
        paths = [image["path"] or "" for image in self._paths[numbers]["image"]] if self._images else []
        return [
            {
                "id": self._gallery.ids[row],
                "labels": list(self._gallery.labels(row)),
                "text": "\n".join(self._gallery.texts(row)),
                "image": paths[row - numbers.start] if paths else "",
            }
            for row in numbers
        ]
