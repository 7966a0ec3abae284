"""What an index that stores items stores of each in addition to its embedding."""

from __future__ import annotations

from typing import Any

from cmr_hub.data.image_cells import undecoded

from .items import Items


class ItemMetadata:
    """The items of a gallery as records, read from disk slice by slice.

    Args:
        items: of the gallery.

    Example:
    ```python
    >>> from cmr_hub.data import load_dataset
    >>> items = ItemMetadata(Items(load_dataset("emoji")["test"]))
    >>> sorted(items[0:1][0])
    ['id', 'image', 'labels', 'text']
    ```
    """

    def __init__(self, items: Items):
        self._items = items
        self._images = "image" in items.dataset.column_names
        if self._images:
            self._paths = undecoded(items.dataset)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, rows: slice) -> list[dict[str, Any]]:
        """`id`, `labels`, `text` and `image` of some rows.

        `labels` are names of classes, `text` is all texts of the item, one per line, and `image` says where the image
        is: its path, or its name in the gallery's shards; "" where there is none.
        """
        numbers = range(*rows.indices(len(self)))
        cells = self._paths[numbers]["image"] if self._images else []
        paths = ["" if cell is None else cell["path"] or "" for cell in cells]
        return [
            {
                "id": self._items.ids[row],
                "labels": list(self._items.labels(row)),
                "text": "\n".join(texts),
                "image": paths[row - numbers.start] if paths else "",
            }
            for row, texts in zip(numbers, self._items.texts(numbers), strict=True)
        ]
