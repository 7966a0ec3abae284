"""Queries of an image and words together: the kind of thing from the image, an attribute of it from the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_array, eye_array

from cmr_hub.errors import InputError
from cmr_hub.modeling.codes import pack
from cmr_hub.modeling.combination import combine

from . import metrics
from .ranking import Ranking, distances_between, distances_with_focus, first_hit_ties, hits_of, ranked_keys, scores_of


@dataclass(frozen=True, kw_only=True)
class CombinedProtocol:
    """How queries of an image and words are set up, and how a number is made of them.

    An attribute is what texts of some items say: a colour, a gender, what is next to a thing. For a kind of thing and
    an attribute the queries are images of the kind whose texts do not say the attribute, together with the attribute's
    words; relevant are the items of the kind whose texts say it. `negates=True` turns the attribute round: the images
    have it, its words have a negative weight, and relevant are the items of the kind without it.

    Attributes:
        name: what users call it.
        source: the paper or code whose numbers it reproduces.
        kind: what a kind of thing is: a class ("class"), or a name but for the words of attributes ("name": that of a
            man and of a woman teacher).
        gallery: what is searched: the measured split ("split"), or all splits, where query images come from all as
            well, and relevant items all from the measured one ("all").
        negates: whether the words say what is not wanted.
        images: at most so many query images per kind and attribute, by a hash of their ids.
        min_relevant: a kind and an attribute count where so many items are relevant.
        max_share: and where at most this share of the kind has the attribute, and at most this share of the items with
            the attribute is of the kind: neither the image nor the words suffice.
        at: R@k, the share of queries with a relevant item among the first k.

    Raises:
        InputError: numbers that no queries can be made with.
    """

    name: str
    source: str = "ours"
    kind: Literal["class", "name"] = "class"
    gallery: Literal["split", "all"] = "split"
    negates: bool = False
    images: int = 5
    min_relevant: int = 1
    max_share: float = 0.5
    at: tuple[int, ...] = (1, 10)

    def __post_init__(self) -> None:
        numbers = (self.images, self.min_relevant, *self.at)
        if any(type(number) is not int or number < 1 for number in numbers) or not 0 < self.max_share <= 1:
            raise InputError(
                f"Protocol {self.name!r}: images, min_relevant and at are whole numbers from 1, and max_share is a "
                "number above 0 and up to 1."
            )

    def describe(self) -> str:
        """One line that says all of it.

        Example:
        ```python
        >>> COMBINED_PROTOCOLS["class-and-attribute"].describe().split("; ")[0]
        'class-and-attribute: mAP over all relevant items, and R@1, R@10'
        ```
        """
        has, lacks = "whose texts say the attribute", "whose texts do not say it"
        query, relevant = (has, lacks) if self.negates else (lacks, has)
        kind = "class" if self.kind == "class" else "name but for words of attributes"
        gallery = {
            "split": "the images of the measured split",
            "all": "the images of all splits (query images are of all, relevant ones of the measured split)",
        }[self.gallery]
        parts = [
            f"mAP over all relevant items, and {', '.join(f'R@{k}' for k in self.at)}",
            f"relevant = the {kind} of the query image, {relevant}",
            f"query images are of the same {kind}, {query}, at most {self.images} per {kind} and attribute by a hash "
            "of their ids",
            f"at least {self.min_relevant} relevant; the attribute is that of at most {self.max_share:.0%} of the "
            f"items of the {kind}, of which there are at most {self.max_share:.0%} among those with the attribute",
            f"gallery = {gallery} without the query image",
            "ties in expectation",
        ]
        return f"{self.name}: {'; '.join(parts)}".replace("%", " %")


COMBINED_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        CombinedProtocol(name="class-and-attribute"),
        CombinedProtocol(name="class-without-attribute", negates=True),
        CombinedProtocol(name="name-and-attribute", kind="name", gallery="all"),
        CombinedProtocol(name="name-without-attribute", kind="name", gallery="all", negates=True),
    )
}


@dataclass(frozen=True)
class CombinedQueries:
    """Queries of an image and an attribute each.

    Attributes:
        images: `(q,)` rows of the query images among the items.
        attributes: `(q,)` numbers of the attributes.
        relevant: `(q, n)` booleans, which items are relevant.
    """

    images: np.ndarray
    attributes: np.ndarray
    relevant: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def combined_queries(
    protocol: CombinedProtocol, kinds: np.ndarray, has: np.ndarray, order: Sequence[int], measured: np.ndarray
) -> CombinedQueries:
    """The queries that a protocol asks of some items.

    Args:
        protocol: the protocol.
        kinds: `(n, kinds)` booleans, the kinds that the items are of.
        has: `(n, attributes)` booleans, which attributes their texts say.
        order: the items' rows, in the order in which query images are taken.
        measured: `(n,)` booleans, which items may be relevant.

    Raises:
        InputError: there is no kind and attribute with queries.

    Example:
    ```python
    >>> kinds, has = np.array([[1, 0]] * 4 + [[0, 1]] * 2, bool), np.array([[1], [0], [0], [0], [1], [0]], bool)
    >>> protocol = COMBINED_PROTOCOLS["class-and-attribute"]
    >>> queries = combined_queries(protocol, kinds, has, order=range(6), measured=np.ones(6, bool))
    >>> queries.images.tolist(), queries.relevant[0].tolist()
    ([1, 2, 3, 5], [True, False, False, False, False, False])
    ```
    """
    images, attributes, relevant = list[int](), list[int](), list[np.ndarray]()
    for of_kind in kinds.T:
        for attribute, of_attribute in enumerate(has.T):
            with_it, without = of_kind & of_attribute, of_kind & ~of_attribute
            asked, found = (with_it, without) if protocol.negates else (without, with_it)
            is_open = 0 < with_it.sum() <= protocol.max_share * min(of_kind.sum(), of_attribute.sum())
            if not is_open or found.sum() < protocol.min_relevant or (found & ~measured).any():
                continue
            chosen = [row for row in order if asked[row]][: protocol.images]
            images += chosen
            attributes += [attribute] * len(chosen)
            relevant += [found] * len(chosen)
    if not images:
        raise InputError(
            f"No kind and attribute have queries by the protocol {protocol.name!r}: name attributes that the texts of "
            f"at most {protocol.max_share:.0%} of the items of a kind say, and of items of other kinds."
        )
    return CombinedQueries(np.array(images), np.array(attributes), np.stack(relevant))


@dataclass(frozen=True)
class CombinedEmbeddings:
    """What queries and gallery are made of.

    Attributes:
        images: `(n, d)` real-valued embeddings of the items' images; of a hashing method the values behind codes.
        words: `(attributes, d)` of the attributes' words, likewise.
        codes: `(n, bits // 8)` of the images, of a hashing method.
        class_dim: width of the class part, of embeddings of two parts.
        focus: how queries weigh these parts.
    """

    images: np.ndarray
    words: np.ndarray
    codes: np.ndarray | None = None
    class_dim: int | None = None
    focus: float | None = None


def evaluate_combined(
    embeds: CombinedEmbeddings,
    queries: CombinedQueries,
    protocol: CombinedProtocol,
    image_weight: float = 1.0,
    words_weight: float = 1.0,
) -> dict[str, float]:
    """Measure queries whose image and words have these weights; a weight of 0 leaves one out.

    Args:
        embeds: embeddings of the items and of the attributes.
        queries: as [`combined_queries`] makes them.
        protocol: the protocol that they were made by.
        image_weight: of the image.
        words_weight: of the words, below 0 where they say what is not wanted.

    Returns:
        "map", and "recall@k" for each k of the protocol.
    """
    import torch

    weights = [image_weight, words_weight]
    rows = [
        combine(np.stack([embeds.images[image], embeds.words[attribute]]), weights, embeds.class_dim)
        for image, attribute in zip(queries.images, queries.attributes, strict=True)
    ]
    vectors, gallery = np.stack(rows), embeds.images
    if embeds.codes is not None:
        vectors, gallery = pack(torch.from_numpy(vectors)), embeds.codes
    if embeds.class_dim is None or embeds.focus is None:
        distances = distances_between(vectors, gallery)
    else:
        distances = distances_with_focus(vectors, gallery, embeds.class_dim, embeds.focus)
    own = (queries.images, np.arange(len(gallery)))
    # Each query is a label of its own, which its relevant items have.
    asked, found = csr_array(eye_array(len(queries), dtype=bool)), csr_array(queries.relevant.T)
    blocks = Ranking(distances, asked, found, own).map(_measure, protocol.name)
    precision, before, tied, right = (np.concatenate(rows) for rows in zip(*blocks, strict=True))
    recalls = {f"recall@{k}": metrics.expected_recall_at(before, tied, right, k) for k in protocol.at}
    return {"map": float(precision.mean()), **recalls}


def _measure(distance: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, ...]:
    """Average precision of each query of a block, and how the first relevant item is tied."""
    keys = ranked_keys(distance, relevant)
    return metrics.expected_average_precision(hits_of(keys), scores_of(keys)), *first_hit_ties(distance, relevant)
