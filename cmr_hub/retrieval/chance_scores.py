"""Scores that items have by chance, which say how high a score must be to mean something.

Scores of different checkpoints differ: by one, a text and any image of the gallery have a cosine of 0.2, by another of
-0.05. What pairs of a gallery that do not belong together score is known without any labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from numbers import Real
from pathlib import Path

import numpy as np
import torch

from cmr_hub.data.columns import Modality
from cmr_hub.encoders.base import TextEncoder
from cmr_hub.errors import InputError
from cmr_hub.modeling.combination import combine
from cmr_hub.modeling.embeddings import as_vectors

from .items import SearchedItems, Vectors
from .retriever import Retriever

QUANTILE = 0.99
SAMPLE = 1000  # items of a gallery whose pairs are looked at
MIN_TEXTS = 20  # known to the text encoder, of the ordinary ones
SEED = 0

Scores = Callable[[np.ndarray, np.ndarray, float | None], np.ndarray]


def check_quantile(quantile: float) -> float:
    """A quantile as it is, where it is a number above 0 and below 1.

    Raises:
        InputError: it is not.
    """
    if isinstance(quantile, bool) or not isinstance(quantile, Real) or not 0 < quantile < 1:  # false for NaN
        raise InputError(f"quantile must be a number above 0 and below 1, such as {QUANTILE}, not {quantile!r}.")
    return float(quantile)


@cache
def ordinary_texts() -> tuple[str, ...]:
    """What people look for, one of everything: the queries of galleries whose items have no texts."""
    return tuple(Path(__file__).with_name("ordinary_texts.txt").read_text(encoding="utf-8").splitlines())


class ChanceScores:
    """Quantiles of the scores of a gallery's items for queries that have nothing to do with them.

    The queries are made of the gallery's own items: the text (or image) of one and the image (or text) of another.
    They are compared with up to 1,000 items, always the same ones, that share no class with them as far as classes are
    known. Where items have no texts, ordinary texts are the queries.

    Args:
        retriever: the checkpoint of the gallery.
        items: of the gallery.
        embeds: modality -> embeddings of the items.
        scores: `(n, d)` and `(m, d)` vectors of items and queries, and a focus -> `(n, m)` scores.
    """

    def __init__(self, retriever: Retriever, items: SearchedItems, embeds: Mapping[Modality, Vectors], scores: Scores):
        self.retriever, self.items, self.embeds, self.scores = retriever, items, embeds, scores
        self.quantile = cache(self._quantile)

    def _quantile(
        self,
        sources: tuple[Modality, ...],
        weights: tuple[float, ...],
        target: Modality,
        focus: float | None,
        quantile: float,
    ) -> float:
        """The score that such a share of pairs of a query and an item stays below.

        Args:
            sources: modality of each term of the queries.
            weights: of the terms.
            target: which modality of the items is compared.
            focus: as for a search.
            quantile: the share.

        Raises:
            InputError: there is nothing to make queries of, or a single item.
        """
        random = np.random.default_rng(SEED)
        rows = self.items.sample(SAMPLE, random)
        asked = [self._vectors(source, random) for source in sources]
        width = min(len(vectors) for vectors, _ in asked)
        queries, is_query = self._combined([vectors[:width] for vectors, _ in asked], weights)
        scores = self.scores(as_vectors(self.embeds[target][rows]), queries, focus)
        # An item has to do with a query that it is a term of, or whose classes it has.
        is_other, is_alike = np.broadcast_to(is_query, scores.shape).copy(), np.zeros(scores.shape, bool)
        for own in (own[:width] for _, own in asked):
            is_other &= rows[:, None] != own
            is_alike |= self.items.share_classes(rows, own)
        is_chance = is_other & ~is_alike
        if not is_chance.any():  # one class, which says nothing
            is_chance = is_other
        if not is_chance.any():
            raise InputError(
                "A gallery of one item has no pairs that do not belong together: give min_score a number."
            )
        return float(np.quantile(scores[is_chance], quantile))

    def _vectors(self, source: Modality, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of a sample of one modality, and the rows that they are in the gallery, -1 for none."""
        if source in self.embeds:
            rows = self.items.sample(SAMPLE, random)
            return as_vectors(self.embeds[source][rows]), rows
        encoder = self.retriever.processor.text_encoder
        if source == "image" or not isinstance(encoder, TextEncoder):
            raise InputError(
                f"The items of this gallery have no {source}s, so that it is not known what such a query scores by "
                "chance: give min_score a number."
            )
        texts = ordinary_texts()
        known = [text for text, is_known in zip(texts, encoder.has_known_tokens(texts), strict=True) if is_known]
        if len(known) < MIN_TEXTS:
            raise InputError(
                f"The text encoder {encoder.name!r} knows {len(known)} of {len(texts)} ordinary texts, too few to say "
                "what a query scores by chance: give min_score a number."
            )
        order = random.permutation(len(known))
        return as_vectors(self.retriever.encode_texts([known[row] for row in order])), np.full(len(known), -1)

    def _combined(self, terms: Sequence[np.ndarray], weights: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of queries, of the vectors of their terms; and which are queries, as their terms do not cancel."""
        if len(terms) == 1:
            return terms[0], np.ones(len(terms[0]), bool)
        rows, is_query = np.zeros_like(terms[0]), np.ones(len(terms[0]), bool)
        for number, of_query in enumerate(zip(*terms, strict=True)):
            try:
                rows[number] = combine(np.stack(of_query), weights, self.retriever.class_dim)
            except InputError:
                is_query[number] = False
        return as_vectors(self.retriever.model.as_embeddings(torch.from_numpy(rows))), is_query
