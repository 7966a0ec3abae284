"""Measure retrievers on one split of a data set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from typing import Protocol as Interface

import numpy as np
from datasets import Dataset

from cmr_hub.data.columns import COLUMNS, read_column
from cmr_hub.data.labels import class_names, describe_few_classes, label_matrix
from cmr_hub.errors import InputError

from .captions import number_texts, spread_captions
from .embeddings import evaluate_embeddings
from .inputs import check_parts
from .protocols import Protocol, fitted, get_protocol
from .result import EvaluationResult

logger = logging.getLogger(__name__)


class EncodesPairs(Interface):
    """What the evaluator needs of a retriever.

    `real_valued` is passed by protocols that re-rank codes alone: it asks for what the codes are the signs of. A
    retriever whose embeddings have two parts also has `class_dim`, the width of the first.
    """

    def encode_images(self, images: Sequence[Any], *, real_valued: bool = False) -> np.ndarray:
        """Images or feature rows -> `(n, d)` embeddings."""

    def encode_texts(self, texts: Sequence[Any], *, real_valued: bool = False) -> np.ndarray:
        """Texts, lists of captions or feature rows -> `(n, d)` embeddings."""

    def encode_pairs(self, images: Sequence[Any], texts: Sequence[Any], *, real_valued: bool = False) -> np.ndarray:
        """Both modalities of items -> one `(n, d)` embedding each; for protocols that search such."""


class RetrievalEvaluator:
    """Measures retrievers on one split of a data set.

    Args:
        dataset: the queries: `image` or `image_features`, `texts` or `text_features`, and for class protocols `label`
            or `labels`.
        protocol: name of [`list_protocols`] or a [`Protocol`], which is [`fitted`] to the gallery.
        gallery_dataset: the training split, for protocols that search it.
        image_column: the column that the retriever takes; found where only one of the two is there.
        text_column: likewise.

    Raises:
        UnknownNameError: no such protocol.
        InputError: a column or the gallery is missing, two columns could be meant, there are no rows, or the protocol
            counts captions and the column holds features.

    Example:
    ```python
    >>> evaluator = RetrievalEvaluator(dataset["test"], protocol="dscmr")  # doctest: +SKIP
    >>> print(evaluator(cmr_hub.from_pretrained("cmr/dscmr-emoji")).table())  # doctest: +SKIP
    ```
    """

    def __init__(
        self,
        dataset: Dataset,
        protocol: str | Protocol = "dscmr",
        *,
        gallery_dataset: Dataset | None = None,
        image_column: str | None = None,
        text_column: str | None = None,
    ):
        self.protocol = get_protocol(protocol)
        self.dataset, self.gallery_dataset = dataset, gallery_dataset
        if len(dataset) == 0:
            raise InputError("The data set has no rows to evaluate on.")
        if (self.protocol.gallery == "train") != (gallery_dataset is not None):
            use = "searches the training split: pass it as" if gallery_dataset is None else "has no use for a"
            raise InputError(f"Protocol {self.protocol.name!r} {use} gallery_dataset.")
        self.protocol = fitted(self.protocol, len(dataset if gallery_dataset is None else gallery_dataset))
        self.image_column = _pick_column(dataset, image_column, COLUMNS["image"])
        self.text_column = _pick_column(dataset, text_column, COLUMNS["text"])
        by_caption = self.protocol.shared_caption == "all" or self.protocol.captions_per_item
        if by_caption and self.text_column == "text_features":
            raise InputError(
                f"Protocol {self.protocol.name!r} goes by single captions; {self.text_column!r} has one row of "
                "features an item and no words."
            )
        self.labels = self.gallery_labels = None
        if self.protocol.relevance == "class":
            if note := describe_few_classes(dataset):
                logger.warning("%s", note)
            self.labels = label_matrix(dataset)
            if gallery_dataset is not None:
                if class_names(dataset) != class_names(gallery_dataset):
                    raise InputError("The data set and the gallery do not have the same classes in the same order.")
                self.gallery_labels = label_matrix(gallery_dataset)

    def __call__(self, retriever: EncodesPairs, *, curves: bool = False) -> EvaluationResult:
        """Embed the split with a retriever and measure it; see [`evaluate_embeddings`]."""
        class_dim = getattr(retriever, "class_dim", None)
        if self.protocol.focus is not None:
            check_parts(self.protocol, class_dim)
        embeds = self._embed(retriever, real_valued=False)
        texts, caption_to_image = self._texts(self.dataset)
        return evaluate_embeddings(
            **embeds,
            labels=self.labels,
            gallery_labels=self.gallery_labels,
            protocol=self.protocol,
            caption_to_image=caption_to_image,
            text_ids=number_texts(texts) if self.protocol.shared_caption == "all" else None,
            real_valued=self._embed(retriever, real_valued=True) if self.protocol.rerank else None,
            class_dim=class_dim,
            curves=curves,
        )

    def _embed(self, retriever: EncodesPairs, real_valued: bool) -> dict[str, np.ndarray]:
        """Everything that is compared, by the argument names of [`evaluate_embeddings`]."""
        options = {"real_valued": True} if real_valued else {}

        def both(dataset: Dataset, as_pairs: bool) -> tuple[np.ndarray, np.ndarray]:
            images, texts = read_column(dataset, self.image_column), self._texts(dataset)[0]
            if as_pairs:
                pairs = retriever.encode_pairs(images, texts, **options)
                return pairs, pairs
            embeds = retriever.encode_images(images, **options)
            if self.protocol.captions == "set" or self.text_column == "text_features":
                return embeds, retriever.encode_texts(texts, **options)
            # Each different caption once: how a text is rounded may depend on its batch, and equal ones are to tie.
            row = {text: number for number, text in enumerate(dict.fromkeys(texts))}
            return embeds, retriever.encode_texts(list(row), **options)[[row[text] for text in texts]]

        names = ("image_embeds", "text_embeds")
        embeds = dict(zip(names, both(self.dataset, as_pairs=False), strict=True))
        if self.gallery_dataset is not None:
            gallery = both(self.gallery_dataset, as_pairs=self.protocol.gallery_view == "pair")
            embeds |= {f"gallery_{name}": rows for name, rows in zip(names, gallery, strict=True)}
        return embeds

    def _texts(self, dataset: Dataset) -> tuple[Sequence[Any], np.ndarray | None]:
        """What to encode as texts, and where captions are texts of their own the row that each belongs to."""
        sets = read_column(dataset, self.text_column)
        if self.text_column == "text_features":
            return sets, None
        for position, captions in enumerate(sets):
            if not captions:
                raise InputError(f"Item {position} of the data set has no text in {self.text_column!r}.")
        if self.protocol.captions == "set":
            return sets, None
        return spread_captions(sets, self.protocol.captions_per_item)


def _pick_column(dataset: Dataset, wanted: str | None, known: tuple[str, str]) -> str:
    present = [column for column in known if column in dataset.column_names]
    if wanted is None and len(present) == 1:
        return present[0]
    if wanted in present:
        return wanted
    if wanted is None and present:
        raise InputError(f"The data set has both {known[0]!r} and {known[1]!r}; say which one the retriever takes.")
    raise InputError(
        f"The data set has no column {wanted or f'{known[0]!r} or {known[1]!r}'}; it has "
        f"{', '.join(dataset.column_names) or 'none'}."
    )
