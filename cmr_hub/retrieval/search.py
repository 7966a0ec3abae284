"""Answering queries: embed the query, search an index, re-rank and describe what was found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import Literal

import numpy as np
import PIL.Image

from cmr_hub.data.columns import COLUMNS, Modality
from cmr_hub.errors import InputError
from cmr_hub.indexes import Filter, Index
from cmr_hub.modeling.code_parts import CodeParts
from cmr_hub.modeling.codes import unpack
from cmr_hub.modeling.parts import balanced, check_focus, focus_scale, focused

from .chance_scores import QUANTILE, ChanceScores, check_quantile
from .items import SearchedItems, Vectors
from .queries import Query
from .query_embedding import QueryEmbedder
from .retriever import Retriever

logger = logging.getLogger(__name__)

AUTO: Literal["auto"] = "auto"  # the least score that means something; see `Gallery.suggest_min_score`


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
    _items: SearchedItems | None = field(default=None, repr=False, compare=False)

    @property
    def image(self) -> PIL.Image.Image | None:
        """The item's image, decoded when asked for; None where the data set came as features only."""
        return None if self._items is None else self._items.image(self.position)


@dataclass(frozen=True)
class _EmbeddedQuery:
    """A query that has been understood.

    Attributes:
        embeds: gives its `(1, d)` embedding, on request the real-valued one.
        row: the row that it is in the gallery, where it is an item and nothing else.
        own_rows: rows that it is itself, or has as terms, in the modality that is searched.
        sources: the modality of each of its terms.
        weights: of its terms.
    """

    embeds: Callable[..., np.ndarray]
    row: int | None
    own_rows: Sequence[int]
    sources: tuple[Modality, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class _Parts:
    """The two parts of embeddings, as a query weighs them.

    Attributes:
        class_dim: width of the class part, which comes first; of codes its bits.
        focus: weight of the item part, from 0 to 1; the class part has the rest.
    """

    class_dim: int
    focus: float


Tell = Callable[[list[str]], object]


def _log(notes: list[str]) -> None:
    for note in notes:
        logger.warning("%s", note)


def check_min_score(min_score: float | Literal["auto"]) -> float | Literal["auto"]:
    """A least score as it is, where it is "auto" or a number from -1 to 1.

    Raises:
        InputError: it is not.
    """
    if isinstance(min_score, str) and min_score == AUTO:
        return AUTO
    if isinstance(min_score, bool) or not isinstance(min_score, Real) or not -1 <= min_score <= 1:  # false for NaN
        raise InputError(
            f"min_score must be a number from -1 to 1, as scores are, or 'auto', and is {min_score!r}: "
            "`Gallery.suggest_min_score` gives a number that fits the gallery."
        )
    return float(min_score)


def _similarities(rows: np.ndarray, queries: np.ndarray, parts: _Parts | None) -> np.ndarray:
    """Scores `(n, m)` of `(n, d)` real-valued rows for `(m, d)` queries.

    The values behind codes, and their signs, have parts of any length.
    """
    if parts is None:
        return rows @ queries.T
    weighed = focused(balanced(queries, parts.class_dim), parts.class_dim, parts.focus)
    return focus_scale(parts.focus) * (balanced(rows, parts.class_dim) @ weighed.T)


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
        items: SearchedItems,
        retriever: Retriever,
        embeds: Mapping[Modality, Vectors],
        real_valued: Mapping[Modality, Vectors],
        indexes: Mapping[Modality, Index],
    ):
        self.items, self.retriever = items, retriever
        self.embeds, self.real_valued, self.indexes = embeds, real_valued, indexes
        self.chance = ChanceScores(
            retriever, items, embeds, lambda rows, queries, focus: _similarities(rows, queries, self._parts(focus))
        )

    def search(
        self,
        query: Query | Sequence[Query],
        target: Modality,
        k: int,
        label: str | Sequence[str] | None,
        rerank: int,
        focus: float | None = None,
        min_score: float | Literal["auto"] | None = None,
        tell: Tell = _log,
    ) -> list[Hit] | list[list[Hit]]:
        """The `k` nearest items of one query, or of each of several; see `Gallery.search`.

        Notes on each query are told, in order; by default they are logged.
        """
        least = None if min_score is None else check_min_score(min_score)
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"k is {k!r}, and it must be a whole number from 1.")
        return self._of_each(
            query, target, lambda asked: self._search(asked, target, int(k), label, rerank, focus, least), tell
        )

    def _search(
        self,
        asked: _EmbeddedQuery,
        target: Modality,
        k: int,
        label: str | Sequence[str] | None,
        rerank: int,
        focus: float | None,
        min_score: float | Literal["auto"] | None,
    ) -> list[Hit]:
        parts = self._parts(focus)
        exact = self._exact_rows(target) if rerank else None
        found = min(max(k, rerank) + len(asked.own_rows), len(self.items))
        filter = None if label is None else self.items.filter(label)
        scores, rows = self._nearest(asked.embeds(), target, found, filter, parts)
        wanted = (rows >= 0) & ~np.isin(rows, asked.own_rows)
        scores, rows = scores[wanted], rows[wanted]
        if exact is not None:
            query = asked.embeds(real_valued=target in self.real_valued)
            scores = _similarities(exact[rows], query, parts)[:, 0]
            order = np.argsort(-scores, kind="stable")
            scores, rows = scores[order], rows[order]
        if min_score == AUTO:
            min_score = self.suggest_min_score(asked.sources, asked.weights, target, focus)
        if min_score is not None:
            good = scores >= np.float32(min_score)  # as scores are: 0.7 is none of these
            scores, rows = scores[good], rows[good]
        return self._hits(scores[:k], rows[:k], asked.row)

    def embed(self, query: Query, target: Modality) -> np.ndarray:
        """The embedding of one query, `(1, d)`; see `Gallery.embed_query`."""
        self._check_target(target)
        embedder = self._embedder([query], target)
        embedder.check(query)
        return embedder.embed(query)

    def _embedder(self, queries: Sequence[Query], target: Modality) -> QueryEmbedder:
        source = self.other_modality(target)
        return QueryEmbedder(queries, self.retriever, self.items, self.embeds, self.real_valued, source)

    def suggest_min_score(
        self,
        sources: tuple[Modality, ...],
        weights: tuple[float, ...],
        target: Modality,
        focus: float | None,
        quantile: float = QUANTILE,
    ) -> float:
        """What queries of such terms score by chance; see `Gallery.suggest_min_score`."""
        self._check_target(target)
        if unknown := set(sources) - set(COLUMNS):
            raise InputError(f"source is 'image' or 'text', not {unknown.pop()!r}.")
        self._parts(focus)
        return self.chance.quantile(sources, weights, target, focus, check_quantile(quantile))

    def range_search(
        self, query: Query | Sequence[Query], target: Modality, radius: int
    ) -> list[Hit] | list[list[Hit]]:
        """The items within a Hamming radius of one query, or of each of several; see `Gallery.range_search`."""
        return self._of_each(query, target, lambda asked: self._range_search(asked, target, radius))

    def _range_search(self, asked: _EmbeddedQuery, target: Modality, radius: int) -> list[Hit]:
        codes = asked.embeds()
        rows = self.indexes[target].range_search(codes, radius)[0]
        rows = rows[~np.isin(rows, asked.own_rows)]
        signs = unpack(codes)[0]
        return self._hits(unpack(self.embeds[target][rows]) @ signs / len(signs), rows, asked.row)

    def _of_each(
        self,
        query: Query | Sequence[Query],
        target: Modality,
        find: Callable[[_EmbeddedQuery], list[Hit]],
        tell: Tell = _log,
    ) -> list[Hit] | list[list[Hit]]:
        """What is found with one query, or with each of several, which are embedded at once."""
        self._check_target(target)
        queries = [query] if isinstance(query, Query) else query
        embedder = self._embedder(queries, target)
        if isinstance(query, Query):
            return find(self._understood(query, target, embedder, tell))
        asked = []
        for number, one in enumerate(queries):
            try:
                asked.append(self._understood(one, target, embedder, tell))
            except InputError as error:
                raise InputError(f"Query {number + 1} of {len(queries)}: {error}") from error
        return [find(one) for one in asked]

    def _understood(self, query: Query, target: Modality, embedder: QueryEmbedder, tell: Tell) -> _EmbeddedQuery:
        """Check one query, and tell what speaks against its hits."""
        tell(self.notes(query))
        embedder.check(query)
        row = None if query.is_combined else next(map(self.items.position, map(str, query.values("item"))), None)
        return _EmbeddedQuery(
            embeds=partial(embedder.embed, query),
            row=row,
            own_rows=embedder.rows_among(query, target),
            sources=tuple(map(embedder.source, query.terms)),
            weights=tuple(term.weight for term in query.terms),
        )

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

    def notes(self, query: Query) -> list[str]:
        """What speaks against the hits of a query, as sentences; see `Gallery.notes`."""
        notes = [self.retriever.check_words(text) for text in query.values("text")]
        notes += [self.retriever.check_image(image) for image in query.values("image")]
        return [note for note in dict.fromkeys(notes) if note]

    def _check_target(self, target: Modality) -> None:
        """Refuse to search what the items do not have."""
        if target not in COLUMNS:
            raise InputError(f"target is 'image' or 'text', not {target!r}.")
        if target not in self.indexes:
            known = " or ".join(repr(modality) for modality in self.embeds)
            raise InputError(f"The items of this gallery have no {target}s to find: its target is {known}.")

    def _exact_rows(self, target: Modality) -> Vectors:
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
                id=item.id,
                score=score,
                texts=item.texts,
                labels=item.labels,
                position=row,
                same_class=None if query is None else self.items.share_a_class(query, row),
                _items=self.items,
            )
            for row, score, item in zip(found, scores.tolist(), self.items.describe(found), strict=True)
        ]
