"""Queries of an image and words together, against either alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np
import yaml
from datasets import Dataset, DatasetDict

from cmr_hub.data.base import check_splits, hash_order
from cmr_hub.data.columns import column_of, read_column
from cmr_hub.data.labels import label_matrix
from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.evaluation.combined import (
    COMBINED_PROTOCOLS,
    CombinedEmbeddings,
    CombinedProtocol,
    CombinedQueries,
    combined_queries,
    evaluate_combined,
)
from cmr_hub.utils.decoding import decode
from cmr_hub.utils.located_yaml import load_yaml

from .naming import Words, named_in, plain, without_words

if TYPE_CHECKING:
    from cmr_hub.retrieval.retriever import Retriever

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the words, of which validation data choose one; the image counts 1


@dataclass(frozen=True)
class CombinedRow:
    """One kind of query.

    Attributes:
        title: what it is made of.
        image_weight: weight of the image.
        words_weight: weight of the words.
        metrics: "map", "recall@1" ….
    """

    title: str
    image_weight: float
    words_weight: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class CombinedTable:
    """What one protocol measured.

    Attributes:
        protocol: how.
        queries: number of queries.
        pairs: number of kinds with an attribute each.
        gallery: number of items.
        rows: kinds of queries.
    """

    protocol: CombinedProtocol
    queries: int
    pairs: int
    gallery: int
    rows: Sequence[CombinedRow]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "protocol": self.protocol.name,
            "protocol_description": self.protocol.describe(),
            "queries": self.queries,
            "pairs": self.pairs,
            "gallery": self.gallery,
            "rows": [vars(row) for row in self.rows],
        }

    def __str__(self) -> str:
        names = list(self.rows[0].metrics)
        width = max(len(row.title) for row in self.rows)
        lines = [f"{'':{width}}" + "".join(f"  {name:>9}" for name in names)]
        for row in self.rows:
            lines.append(f"{row.title:{width}}" + "".join(f"  {row.metrics[name]:9.4f}" for name in names))
        return "\n".join(
            [
                *lines,
                f"{self.queries:,} queries of {self.pairs:,} kinds with an attribute, {self.gallery:,} items",
                f"protocol {self.protocol.describe()}",
            ]
        )


class Attributes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of a data set.

    Attributes:
        protocols: names of protocols.
        attributes: attribute, as it is typed next to an image, -> the words of texts that say it.
    """

    protocols: list[str]
    attributes: dict[str, list[str]]


def compare_queries(
    retriever: Retriever,
    dataset: DatasetDict,
    attributes: Attributes,
    *,
    split: str = "test",
    focus: float | None = None,
) -> list[CombinedTable]:
    """Measure queries of an image and words, and of either alone, by a checkpoint.

    The words' weight of the last row is the one that is best on the validation split.

    Args:
        retriever: the checkpoint; it takes raw texts.
        dataset: splits with `id`, `texts`, classes, and what the checkpoint takes of images.
        attributes: what is asked.
        split: what is measured.
        focus: how queries weigh embeddings of two parts; by default as the checkpoint says.

    Returns:
        A table for each protocol.

    Raises:
        InputError: a split or a column is missing, or there are no queries.
        UnknownNameError: there is no such protocol.
    """
    check_splits(dataset, {split, "validation"}, "This data set")
    for name in attributes.protocols:
        if name not in COMBINED_PROTOCOLS:
            raise UnknownNameError("protocol", name, COMBINED_PROTOCOLS)
    protocols = [COMBINED_PROTOCOLS[name] for name in attributes.protocols]
    everything = any(protocol.gallery == "all" for protocol in protocols)
    splits = list(dataset) if everything else list(dict.fromkeys(("validation", split)))
    items = {name: _Embedded.of(retriever, dataset[name], attributes.attributes, focus) for name in splits}
    return [_table(protocol, items, split) for protocol in protocols]


def default_attributes(dataset: str) -> Attributes:
    """What is asked of a data set that attributes are kept for.

    Raises:
        InputError: there are none.
    """
    kept = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    if dataset not in kept:
        raise InputError(
            f"No attributes are kept for {dataset!r}, only for {', '.join(kept)}: write some into a YAML file, and "
            "name it with --attributes."
        )
    return decode(Attributes, kept[dataset], "attributes")


def read_attributes(path: Path) -> Attributes:
    """What is asked, from a YAML file with `protocols` and `attributes`, as `combined.yaml` has them.

    Raises:
        InputError: the file is missing or holds something else.
    """
    return decode(Attributes, load_yaml(path), str(path))


@dataclass(frozen=True)
class _Embedded:
    """Items, their embeddings, and what their texts say.

    Attributes:
        ids: of the items.
        names: `(n,)` of the first texts, without the words of attributes.
        labels: `(n, classes)` booleans.
        has: `(n, attributes)` booleans; of names, which the first text has.
        named: likewise, of the first texts alone.
        embeds: what is compared.
    """

    ids: list[str]
    names: list[str]
    labels: np.ndarray
    has: np.ndarray
    named: np.ndarray
    embeds: CombinedEmbeddings

    @classmethod
    def of(cls, retriever: Retriever, items: Dataset, words: Words, focus: float | None) -> Self:
        encoder, is_hashing = retriever.processor.image_encoder, retriever.model.is_hashing
        images = read_column(items, column_of(items, "image", encoder.accepts_raw_input))
        texts = items["texts"][:]
        firsts = [said[:1] for said in texts]
        return cls(
            ids=items["id"][:],
            names=[" ".join(without_words(plain(first), words).split()) for first in firsts],
            labels=label_matrix(items).astype(bool),
            has=named_in(texts, words),
            named=named_in(firsts, words),
            embeds=CombinedEmbeddings(
                images=retriever.encode_images(images, cache=True, real_valued=is_hashing),
                words=retriever.encode_texts(list(words), cache=True, real_valued=is_hashing),
                codes=retriever.encode_images(images, cache=True) if is_hashing else None,
                class_dim=retriever.class_dim,
                focus=retriever.default_focus if focus is None else focus,
            ),
        )

    @classmethod
    def together(cls, splits: Sequence[_Embedded]) -> Self:
        """The items of several splits."""
        first = splits[0].embeds
        codes = None if first.codes is None else np.concatenate([each.embeds.codes for each in splits])
        images = np.concatenate([each.embeds.images for each in splits])
        return cls(
            ids=[item for each in splits for item in each.ids],
            names=[name for each in splits for name in each.names],
            labels=np.concatenate([each.labels for each in splits]),
            has=np.concatenate([each.has for each in splits]),
            named=np.concatenate([each.named for each in splits]),
            embeds=replace(first, images=images, codes=codes),
        )

    def queries(self, protocol: CombinedProtocol, measured: np.ndarray) -> CombinedQueries:
        """The queries of a protocol, and what may be relevant."""
        order = sorted(range(len(self.ids)), key=[hash_order(item) for item in self.ids].__getitem__)
        if protocol.kind == "class":
            return combined_queries(protocol, self.labels, self.has, order, measured)
        # A name without any attribute, or of several, is not one that differs from others by an attribute.
        has_one = self.named.sum(axis=1) == 1
        names = np.array(self.names)
        kinds = np.stack([(names == name) & has_one for name in sorted({*self.names} - {""})], axis=1)
        return combined_queries(protocol, kinds, self.named, order, measured)


def _asked(
    protocol: CombinedProtocol, items: Mapping[str, _Embedded], split: str
) -> tuple[CombinedEmbeddings, CombinedQueries]:
    """What is searched, and the queries whose relevant items are in a split."""
    if protocol.gallery == "split":
        return items[split].embeds, items[split].queries(protocol, np.ones(len(items[split].ids), bool))
    all_items = _Embedded.together(list(items.values()))
    measured = np.concatenate([np.full(len(each.ids), name == split) for name, each in items.items()])
    return all_items.embeds, all_items.queries(protocol, measured)


def _table(protocol: CombinedProtocol, items: Mapping[str, _Embedded], split: str) -> CombinedTable:
    sign = -1.0 if protocol.negates else 1.0
    embeds, queries = _asked(protocol, items, "validation")
    tried = {
        weight: evaluate_combined(embeds, queries, protocol, words_weight=sign * weight)["map"] for weight in WEIGHTS
    }
    best = max(tried, key=tried.__getitem__)
    kinds = [("words alone", 0.0, 1.0), ("image alone", 1.0, 0.0)]
    if protocol.negates:
        kinds = [*kinds[1:], ("image - 0.5 words", 1.0, -0.5), (f"image - {best:g} words (validation)", 1.0, -best)]
    else:
        kinds += [("image + words", 1.0, 1.0), (f"image + {best:g} words (validation)", 1.0, best)]
    embeds, queries = _asked(protocol, items, split)
    rows = [
        CombinedRow(title, image, words, evaluate_combined(embeds, queries, protocol, image, words))
        for title, image, words in kinds
    ]
    pairs = {
        (attribute, found.tobytes()) for attribute, found in zip(queries.attributes, queries.relevant, strict=True)
    }
    return CombinedTable(protocol, len(queries), len(pairs), len(embeds.images), rows)
