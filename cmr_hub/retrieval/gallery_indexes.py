"""The indexes of a gallery: which one, with which options, one per modality."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np

from cmr_hub.data.columns import Modality
from cmr_hub.errors import CMRError, InputError
from cmr_hub.indexes import INDEXES, Choice, Index, choose_index
from cmr_hub.modeling.embeddings import described, kind_of

from .item_metadata import ItemMetadata
from .items import Items
from .retriever import Retriever

logger = logging.getLogger(__name__)


def check_embeds(embeds: Mapping[Modality, np.ndarray], items: int, retriever: Retriever) -> None:
    """Refuse embeddings that are not those of so many items by this retriever; warn of degenerate ones.

    Raises:
        InputError: there are none, or they are of another kind, width or number.
    """
    if not embeds:
        raise InputError("A gallery needs embeddings of images, of texts or of both.")
    wanted = retriever.encode_texts([])
    for modality, rows in embeds.items():
        is_like = rows.ndim == 2 and (kind_of(rows), rows.shape[1]) == (kind_of(wanted), wanted.shape[1])
        if not is_like or len(rows) != items:
            raise InputError(
                f"{modality}_embeds must be {items} rows of {described(wanted)}, as {retriever.name!r} gives them, "
                f"not of the shape {rows.shape} and the type {rows.dtype}."
            )
        kind_of(rows).warn_if_degenerate(rows, f"gallery's {modality}s")


def chosen(index: str, options: Mapping[str, Any], representation: str, items: int, gallery: str) -> Choice:
    """The index that a gallery was asked for, or the one that "auto" stands for, which is logged."""
    if index != "auto":
        return Choice(index, "asked for", dict(options))
    choice = choose_index(representation, items)
    logger.info("Index %r for %r: %s.", choice.name, gallery, choice.reason)
    return replace(choice, options={**choice.options, **options})


def options_to_save(index: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an index as a gallery's files may have them; see [`~cmr_hub.indexes.base.Index.options_to_save`].

    Raises:
        UnknownNameError: there is no such index.
    """
    return dict(options) if index == "auto" else INDEXES[index].options_to_save(options)


def options_to_open(index: str, saved: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options to open a saved gallery with; see [`~cmr_hub.indexes.base.Index.options_to_open`].

    Raises:
        UnknownNameError: there is no such index.
        InputError: the gallery names a server that the caller has not confirmed.
    """
    if index == "auto":
        return dict(saved if given is None else given)
    return INDEXES[index].options_to_open(saved, given)


def build_index(choice: Choice, embeds: np.ndarray, items: Items, gallery: str, modality: Modality) -> Index:
    """The index of one modality of a gallery.

    Args:
        choice: which index, and its options.
        embeds: `(n, width)` embeddings of the items.
        items: for indexes that store what items are.
        gallery: name of the gallery.
        modality: of the embeddings.

    Raises:
        UnknownNameError: there is no such index.
        InputError: the index does not take the options or the embeddings.
    """
    index_class = INDEXES[choice.name]
    options = index_class.options_for(choice.options, gallery, modality)
    if index_class.wants_metadata:
        options["metadata"] = ItemMetadata(items)
    taken = signature(index_class).parameters
    unknown = [option for option in options if option not in taken]
    if unknown:
        known = ", ".join(name for name in taken if name not in ("vectors", "ids", "metadata")) or "none"
        raise InputError(f"The index {choice.name!r} has no option {unknown[0]!r}. It takes: {known}.")
    try:
        index = index_class(embeds, **options)
        index.owner = gallery
        return index
    except CMRError:
        raise
    except (TypeError, ValueError, ArithmeticError, AttributeError, KeyError, MemoryError) as error:
        raise InputError(f"The index {choice.name!r} cannot be made with {choice.options!r:.300}: {error}.") from error
