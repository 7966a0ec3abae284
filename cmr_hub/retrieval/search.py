"""Answering queries: embed the query, search an index, re-rank and describe what was found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
import PIL.Image

from cmr_hub.data.columns import COLUMNS, Modality
from cmr_hub.errors import InputError
from cmr_hub.indexes import Filter, Index
from cmr_hub.modeling.code_parts import CodeParts
from cmr_hub.modeling.codes import unpack
from cmr_hub.modeling.parts import balanced, check_focus, focus_scale, focused

from .embedding import Embedder
from .items import Items
from .retriever import Retriever

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """One found item.

    Attributes:
        id: the item's id in its data set.
        score: cosine similarity to the query, in [-1, 1]; of codes that of their signs, 1 - 2 distance / bits; of
            embeddings of two parts (1 - focus) * cosine of the class parts + focus * cosine of the item parts; from an
            approximate index an estimate.
        texts: the item's texts; empty where the data set came as features only.
        labels: names of its classes; empty where there are none.
        position: its row in the gallery.
        same_class: whether it shares a class with the query, where the query is an item of the gallery.
    """

    id: str
    score: float
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    position: int
    same_class: bool | None = None
    _items: Items | None = field(default=None, repr=False, compare=False)

    @property
    def image(self) -> PIL.Image.Image | None:
        """The item's image, decoded when asked for; None where the data set came as features only."""
        return None if self._items is None else self._items.image(self.position)


@dataclass(frozen=True)
class Query:
    """What is searched by: exactly one of a text, an image and an item.

    Attributes:
        text: a text query.
        image: an image query: path, PIL image or array.
        item: the id of an item of the gallery.
        source: with `item`, the modality of the query; by default the one that the target is not.

    Raises:
        InputError: none or several queries, or no such modality.
    """

    text: str | None = None
    image: Any | None = None
    item: str | None = None
    source: Modality | None = None

    def __post_init__(self) -> None:
        if sum(query is not None for query in (self.text, self.image, self.item)) != 1:
            raise InputError("Give exactly one query: text=…, image=… or item=….")

    @classmethod
    def of(cls, text: Any | None, image: Any | None, item: Any | None, source: Modality | None) -> Query | list[Query]:
        """Return one query, or one for each of what comes as a list, an iterator or an array of several.

        Example:
        ```python
        >>> [query.text for query in Query.of(("a cat", "a dog"), None, None, None)]
        ['a cat', 'a dog']
        ```
        """
        whole = cls(text, image, item, source)
        for kind, value in (("text", text), ("image", image), ("item", item)):
            is_one = isinstance(value, str | bytes | bytearray | memoryview | Mapping) or (
                kind == "image" and isinstance(value, np.ndarray) and value.ndim < 4
            )
            if isinstance(value, Iterable) and not is_one:
                return [replace(whole, **{kind: one}) for one in value]
        return whole


@dataclass(frozen=True)
class _EmbeddedQuery:
    """A query that has been understood.

    Attributes:
        embeds: gives its `(1, d)` embedding, on request the real-valued one.
        row: the row that it is in the gallery, where it is an item.
        source: which modality of that item it is.
    """

    embeds: Callable[..., np.ndarray]
    row: int | None = None
    source: Modality | None = None

    def is_among(self, target: Modality) -> bool:
        """Whether the query itself would be found in this modality."""
        return self.row is not None and self.source == target


@dataclass(frozen=True)
class _Parts:
    """The two parts of embeddings, as a query weighs them.

    Attributes:
        class_dim: width of the class part, which comes first; of codes its bits.
        focus: weight of the item part, from 0 to 1; the class part has the rest.
    """

    class_dim: int
    focus: float


def _similarities(rows: np.ndarray, query: np.ndarray, parts: _Parts | None) -> np.ndarray:
    """Scores of `(n, d)` real-valued rows for a query, `(1, d)`; the values behind codes have parts of any length."""
    if parts is None:
        return rows @ query[0]
    weighed = focused(balanced(query, parts.class_dim), parts.class_dim, parts.focus)
    return focus_scale(parts.focus) * (balanced(rows, parts.class_dim) @ weighed[0])


class Searcher:
    """Searches the indexes of a gallery.

    Args:
        items: what is found.
        retriever: the checkpoint that queries are embedded with.
        embeds: modality -> embeddings of the items.
        real_valued: modality -> the values behind codes, where they are stored.
        indexes: modality -> the index of its embeddings.
    """

    def __init__(
        self,
        items: Items,
        retriever: Retriever,
        embeds: Mapping[Modality, np.ndarray],
        real_valued: Mapping[Modality, np.ndarray],
        indexes: Mapping[Modality, Index],
    ):
        self.items, self.retriever = items, retriever
        self.embeds, self.real_valued, self.indexes = embeds, real_valued, indexes

    def search(
        self,
        query: Query | Sequence[Query],
        target: Modality,
        k: int,
        label: str | Sequence[str] | None,
        rerank: int,
        focus: float | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """The `k` nearest items of one query, or of each of several; see `Gallery.search`."""
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"k is {k!r}, and it must be a whole number from 1.")
        return self._of_each(query, target, lambda asked: self._search(asked, target, int(k), label, rerank, focus))

    def _search(
        self,
        asked: _EmbeddedQuery,
        target: Modality,
        k: int,
        label: str | Sequence[str] | None,
        rerank: int,
        focus: float | None,
    ) -> list[Hit]:
        parts = self._parts(focus)
        leaves_out_itself = asked.is_among(target)
        exact = self._exact_rows(target) if rerank else None
        found = min(max(k, rerank) + leaves_out_itself, len(self.items))
        filter = None if label is None else self.items.filter(label)
        scores, rows = self._nearest(asked.embeds(), target, found, filter, parts)
        wanted = rows >= 0
        if leaves_out_itself:
            wanted &= rows != asked.row
        scores, rows = scores[wanted], rows[wanted]
        if exact is not None:
            scores = _similarities(exact[rows], asked.embeds(real_valued=target in self.real_valued), parts)
            order = np.argsort(-scores, kind="stable")
            scores, rows = scores[order], rows[order]
        return self._hits(scores[:k], rows[:k], asked.row)

    def range_search(
        self, query: Query | Sequence[Query], target: Modality, radius: int
    ) -> list[Hit] | list[list[Hit]]:
        """The items within a Hamming radius of one query, or of each of several; see `Gallery.range_search`."""
        return self._of_each(query, target, lambda asked: self._range_search(asked, target, radius))

    def _range_search(self, asked: _EmbeddedQuery, target: Modality, radius: int) -> list[Hit]:
        codes = asked.embeds()
        rows = self.indexes[target].range_search(codes, radius)[0]
        if asked.is_among(target):
            rows = rows[rows != asked.row]
        signs = unpack(codes)[0]
        return self._hits(unpack(self.embeds[target][rows]) @ signs / len(signs), rows, asked.row)

    def _of_each(
        self, query: Query | Sequence[Query], target: Modality, find: Callable[[_EmbeddedQuery], list[Hit]]
    ) -> list[Hit] | list[list[Hit]]:
        """What is found with one query, or with each of several of a kind, which are embedded at once."""
        if isinstance(query, Query):
            return find(self._embedded(query, target))
        queries = query

        @cache
        def rows(real_valued: bool) -> np.ndarray:
            texts = [one.text for one in queries if one.text is not None]
            if texts:
                return self._embed_texts(texts, real_valued)
            return self.retriever.encode_images([one.image for one in queries], real_valued=real_valued)

        def row(number: int, real_valued: bool = False) -> np.ndarray:
            return rows(real_valued)[number][None]

        asked = []
        for number, one in enumerate(queries):
            try:
                asked.append(self._embedded(one, target, partial(row, number)))
            except InputError as error:
                raise InputError(f"Query {number + 1} of {len(queries)}: {error}") from error
        return [find(one) for one in asked]

    def _parts(self, focus: float | None) -> _Parts | None:
        """What a focus weighs, by default the checkpoint's own; None where embeddings have one part."""
        class_dim, default = self.retriever.class_dim, self.retriever.default_focus
        if focus is not None:
            focus = check_focus(focus)
            if class_dim is None:
                raise InputError(
                    f"The checkpoint {self.retriever.name!r} embeds each item as one part, and a focus weighs a class "
                    "part and an item part: leave the focus out, or take a checkpoint of a method with both (unified)."
                )
        return None if class_dim is None or default is None else _Parts(class_dim, default if focus is None else focus)

    def _nearest(
        self, query: np.ndarray, target: Modality, k: int, filter: Filter | None, parts: _Parts | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows of the `k` nearest of one query, `(k,)` each."""
        index = self.indexes[target]
        if parts is None:
            found = index.search(query, k, filter)
        elif index.kind.is_quantized:
            codes = CodeParts(parts.class_dim, 8 * index.width - parts.class_dim, parts.focus)
            found = index.search(query, k, filter) if codes.is_plain else index.search_parts(query, k, codes, filter)
        else:
            scores, rows = index.search(focused(query, parts.class_dim, parts.focus), k, filter)
            found = focus_scale(parts.focus) * scores, rows
        return found[0][0], found[1][0]

    def other_modality(self, target: Modality) -> Modality:
        """The modality that an item asks with for `target`: the other one where there is one."""
        return next((modality for modality in self.embeds if modality != target), target)

    def _embed_texts(self, texts: Sequence[str], real_valued: bool = False) -> np.ndarray:
        """As `Retriever.encode_texts`, without a second warning of unknown words."""
        embedder = Embedder(self.retriever.model, self.retriever.processor)
        return embedder.texts(texts, batch_size=64, cache=False, show_progress=False, real_valued=real_valued)

    def notes(self, query: Query) -> list[str]:
        """What speaks against the hits of a query, as sentences; see `Gallery.notes`."""
        if query.text is not None:
            note = self.retriever.check_words(query.text)
        else:
            note = "" if query.image is None else self.retriever.check_image(query.image)
        return [note] if note else []

    def _embedded(
        self, query: Query, target: Modality, embeds_of_it: Callable[..., np.ndarray] | None = None
    ) -> _EmbeddedQuery:
        """Understand one query; a text or image may have been embedded together with others."""
        if target not in COLUMNS or query.source not in (None, *COLUMNS):
            raise InputError(f"target and source are 'image' or 'text', not {target!r} and {query.source!r}.")
        known = " or ".join(repr(modality) for modality in self.embeds)
        if target not in self.indexes:
            raise InputError(f"The items of this gallery have no {target}s to find: its target is {known}.")
        for note in self.notes(query):
            logger.warning("%s", note)
        if query.text is not None:
            return _EmbeddedQuery(embeds_of_it or partial(self._embed_texts, [query.text]))
        if query.image is not None:
            return _EmbeddedQuery(embeds_of_it or partial(self.retriever.encode_images, [query.image]))
        row, source = self.items.position(str(query.item)), query.source or self.other_modality(target)
        if source not in self.embeds:
            raise InputError(f"The items of this gallery have no {source}s to search by: take {known}.")

        def embeds(real_valued: bool = False) -> np.ndarray:
            return (self.real_valued if real_valued else self.embeds)[source][row][None]

        return _EmbeddedQuery(embeds, row, source)

    def _exact_rows(self, target: Modality) -> np.ndarray:
        """What finds are re-ranked by."""
        if target in self.real_valued:
            return self.real_valued[target]
        index = self.indexes[target]
        if index.approximate and not index.kind.is_quantized:
            return self.embeds[target]
        raise InputError(
            "This gallery keeps no real-valued embeddings to re-rank by: build it with keep_real_valued=True (and a "
            "hashing method; others are ranked by theirs anyway, unless the index is an approximate one)."
        )

    def _hits(self, scores: np.ndarray, rows: np.ndarray, query: int | None) -> list[Hit]:
        found = rows.tolist()
        return [
            Hit(
                id=self.items.ids[row],
                score=score,
                texts=texts,
                labels=self.items.labels(row),
                position=row,
                same_class=None if query is None else self.items.share_a_class(query, row),
                _items=self.items,
            )
            for row, score, texts in zip(found, scores.tolist(), self.items.texts(found), strict=True)
        ]
