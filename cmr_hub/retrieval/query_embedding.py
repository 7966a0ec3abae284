"""Embedding the queries of a search: all texts at once, all images at once, items as they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from cmr_hub.data.columns import Modality
from cmr_hub.errors import InputError
from cmr_hub.modeling.combination import combine

from .embedding import Embedder
from .items import SearchedItems, Vectors
from .queries import Kind, Query, Term
from .retriever import Retriever


class QueryEmbedder:
    """The embeddings of one or several queries, made when they are first asked for.

    A query of one term has the term's embedding. One of several has their weighted sum; of a hashing method that of
    the real values behind the codes, and the code is its signs.

    Args:
        queries: what is searched by.
        retriever: the checkpoint that texts and images are embedded with.
        items: of the gallery.
        embeds: modality -> embeddings of the items.
        real_valued: modality -> the values behind codes, where they are stored.
        default_source: the modality of items that do not say by which they are searched.
    """

    def __init__(
        self,
        queries: Sequence[Query],
        retriever: Retriever,
        items: SearchedItems,
        embeds: Mapping[Modality, Vectors],
        real_valued: Mapping[Modality, Vectors],
        default_source: Modality,
    ):
        self.queries, self.retriever, self.items = queries, retriever, items
        self.embeds, self.real_valued, self.default_source = embeds, real_valued, default_source
        self._row_of = {id(term): row for kind in ("text", "image") for row, term in enumerate(self._terms(kind))}
        self._encoded = cache(self._encode)

    def check(self, query: Query) -> None:
        """Refuse items that cannot be searched by.

        Raises:
            InputError: an unknown item, a modality that items do not have, or an item among several terms of a
                hashing method whose values are not stored.
        """
        for term in query.terms:
            if term.kind != "item":
                continue
            self.items.position(str(term.item))
            source = self.source(term)
            if source not in self.embeds:
                known = " or ".join(repr(modality) for modality in self.embeds)
                raise InputError(f"The items of this gallery have no {source}s to search by: take {known}.")
            if query.is_combined and self._has_codes and source not in self.real_valued:
                raise InputError(
                    f"The item {term.item!r} is combined with other terms by the values behind its code, and this "
                    "gallery does not keep them: build it with keep_real_valued=True, or search by the item alone."
                )

    def rows_among(self, query: Query, target: Modality) -> list[int]:
        """The rows of those items of a query that would be found in a modality themselves."""
        return [
            self.items.position(str(term.item))
            for term in query.terms
            if term.kind == "item" and self.source(term) == target
        ]

    def embed(self, query: Query, *, real_valued: bool = False) -> np.ndarray:
        """The embedding of one of the queries, `(1, d)`; on request of a hashing method the values behind its code.

        Raises:
            InputError: a text or an image cannot be used, or the terms cancel each other out.
        """
        if not query.is_combined:
            return self._of_term(query.terms[0], real_valued)
        rows = np.concatenate([self._of_term(term, self._has_codes) for term in query.terms])
        try:
            combined = combine(rows, [term.weight for term in query.terms], self.retriever.class_dim)[None]
        except InputError as error:
            if len(self.queries) == 1:
                raise
            number = next(number for number, one in enumerate(self.queries) if one is query)
            raise InputError(f"Query {number + 1} of {len(self.queries)}: {error}") from error
        return combined if real_valued else self.retriever.model.as_embeddings(torch.from_numpy(combined))

    def source(self, term: Term) -> Modality:
        """Which modality of an item is searched by."""
        return term.source or self.default_source

    @property
    def _has_codes(self) -> bool:
        return self.retriever.model.is_hashing

    def _of_term(self, term: Term, real_valued: bool) -> np.ndarray:
        """`(1, d)`."""
        if term.kind == "item":
            rows = (self.real_valued if real_valued else self.embeds)[self.source(term)]
            return rows[self.items.position(str(term.item))][None]
        return self._encoded(term.kind, real_valued)[self._row_of[id(term)]][None]

    def _terms(self, kind: Kind) -> list[Term]:
        """The terms of one kind of all queries."""
        return [term for query in self.queries for term in query.terms if term.kind == kind]

    def _encode(self, kind: Kind, real_valued: bool) -> np.ndarray:
        """Embeddings of all texts or all images."""
        values: list[Any] = [term.value for term in self._terms(kind)]
        if kind == "image":
            return self.retriever.encode_images(values, real_valued=real_valued)
        # Not `encode_texts`: whoever searches has been warned of unknown words.
        embedder = Embedder(self.retriever.model, self.retriever.processor)
        return embedder.texts(values, batch_size=64, cache=False, show_progress=False, real_valued=real_valued)
