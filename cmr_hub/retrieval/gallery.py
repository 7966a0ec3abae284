"""A data set embedded by a retriever, and searched."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
from datasets import ClassLabel, Dataset
from datasets.exceptions import DatasetGenerationError

from cmr_hub.data.columns import COLUMNS, Modality, column_of, read_column
from cmr_hub.data.labels import class_names
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.hub import push_folder
from cmr_hub.indexes import INDEXES, Choice, Filter, Index, choose_index
from cmr_hub.modeling.codes import kind_of, unpack, warn_if_degenerate
from cmr_hub.utils.files import atomic_folder
from cmr_hub.utils.hub import read_json, resolve

from .gallery_building import Building
from .gallery_files import (
    CONFIG_NAME,
    EMBEDS,
    REAL_VALUED,
    RETRIEVER,
    SHARD_ROWS,
    read_items,
    shard_path,
    write_config,
    write_items,
)
from .gallery_sources import Source
from .item_metadata import ItemMetadata
from .retriever import Retriever

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """One found item.

    Attributes:
        id: the item's id in its data set.
        score: cosine similarity to the query, in [-1, 1]; of codes that of their signs, 1 - 2 distance / bits; from an
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
    _gallery: Gallery | None = field(default=None, repr=False, compare=False)

    @property
    def image(self) -> PIL.Image.Image | None:
        """The item's image, decoded when asked for; None where the data set came as features only."""
        return None if self._gallery is None else self._gallery.image(self.position)


@dataclass(frozen=True)
class _Query:
    """A query that has been understood.

    Attributes:
        embeds: gives its `(1, d)` embedding, on request the real-valued one.
        item: the row that it is in the gallery, if any, and which of its sides it is.
    """

    embeds: Callable[..., np.ndarray]
    item: int | None = None
    source: Modality | None = None


class Gallery:
    """Items that can be found by text, by image, or by one another.

    Args:
        dataset: `n` items with an `id` column, and, where the source has them, `image`, `texts`, `label` or `labels`.
        retriever: the checkpoint that queries are embedded with.
        image_embeds: `(n, d)` float32 rows of unit length, or of a hashing method `(n, bits // 8)` uint8 codes; None
            where the items have no images.
        text_embeds: likewise.
        index: name of an index in `cmr_hub.indexes`; "auto" picks one by the number and kind of the embeddings and
            logs why.
        index_options: what the index is made with, by name; see its class.
        name: what people call it.
        real_valued: of a hashing method "image" and "text" -> the `(n, bits)` float rows of unit length whose signs
            the codes are, where `search` is to re-rank by them.

    Attributes:
        embeds: side -> its embeddings.
        indexes: side -> the index of them.
        index: which index, with its options, and why.

    Raises:
        InputError: embeddings of another kind than the retriever's, no items, ids given twice, or options that the
            index does not take.
        UnknownNameError: there is no such index.

    Example:

    ```python
    >>> import cmr_hub
    >>> from cmr_hub.data import load_dataset
    >>> retriever = cmr_hub.from_pretrained("cmr/dscmr-emoji")
    >>> gallery = cmr_hub.Gallery.from_dataset(load_dataset("emoji")["test"], retriever)
    >>> hits = gallery.search(text="flag of japan", target="image", k=5)
    >>> len(hits), hits[0].labels
    (5, ('Flags',))
    ```
    """

    def __init__(
        self,
        dataset: Dataset,
        retriever: Retriever,
        image_embeds: np.ndarray | None,
        text_embeds: np.ndarray | None,
        *,
        index: str = "auto",
        index_options: Mapping[str, Any] | None = None,
        name: str = "gallery",
        real_valued: Mapping[Modality, np.ndarray] | None = None,
    ):
        if len(dataset) == 0:
            raise InputError("A gallery needs at least one item, and this data set has none.")
        given: dict[Modality, np.ndarray | None] = {"image": image_embeds, "text": text_embeds}
        self.embeds: dict[Modality, np.ndarray] = {
            modality: rows for modality, rows in given.items() if rows is not None
        }
        self._check_embeds(dataset, retriever)
        self.dataset, self.retriever, self.name = dataset, retriever, name
        self.real_valued = dict(real_valued or {})
        self.ids: list[str] = dataset["id"][:]
        self._position = {item: i for i, item in enumerate(self.ids)}
        if len(self._position) < len(self.ids):
            raise InputError("The ids of a gallery's items must differ, and some are given twice.")
        self._texts = dataset.select_columns("texts") if "texts" in dataset.column_names else None
        self._labels = _label_ids(dataset)
        self.class_names = class_names(dataset) if self._labels is not None else []
        self.index = self._chosen(index, index_options or {})
        self.indexes = {modality: self._indexed(modality) for modality in self.embeds}

    def _check_embeds(self, dataset: Dataset, retriever: Retriever) -> None:
        if not self.embeds:
            raise InputError("A gallery needs embeddings of images, of texts or of both.")
        wanted = retriever.encode_texts([])
        for modality, embeds in self.embeds.items():
            if embeds.ndim != 2 or (len(embeds), kind_of(embeds)) != (len(dataset), kind_of(wanted)):
                raise InputError(
                    f"{modality}_embeds must be {len(dataset)} rows of {kind_of(wanted)}, as {retriever.name!r} gives "
                    f"them, not of the shape {embeds.shape} and the type {embeds.dtype}."
                )
            if wanted.dtype == np.uint8:
                warn_if_degenerate(embeds, f"gallery's {modality}s")

    def _chosen(self, index: str, options: Mapping[str, Any]) -> Choice:
        if index != "auto":
            return Choice(index, "asked for", dict(options))
        choice = choose_index(self.retriever.model.representation, len(self))
        logger.info("Index %r for %r: %s.", choice.name, self.name, choice.reason)
        return replace(choice, options={**choice.options, **options})

    def _indexed(self, modality: Modality) -> Index:
        index_class = INDEXES[self.index.name]
        options = index_class.options_for(self.index.options, self.name, modality)
        if index_class.wants_metadata:
            options["metadata"] = ItemMetadata(self)
        taken = signature(index_class).parameters
        unknown = [option for option in options if option not in taken]
        if unknown:
            known = ", ".join(name for name in taken if name not in ("vectors", "ids", "metadata")) or "none"
            raise InputError(f"The index {self.index.name!r} has no option {unknown[0]!r}. It takes: {known}.")
        return index_class(self.embeds[modality], **options)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return (
            f"Gallery({self.name!r}, items={len(self)}, retriever={self.retriever.name!r}, index={self.index.name!r})"
        )

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset,
        retriever: Retriever,
        index: str = "auto",
        *,
        index_options: Mapping[str, Any] | None = None,
        name: str = "gallery",
        cache: bool = True,
        show_progress: bool = False,
        keep_real_valued: bool = False,
    ) -> Gallery:
        """Embed a data set that fits in memory; [`build`] embeds any.

        Args:
            dataset: items as for [`Gallery`]; checkpoints on released features read `image_features`, `text_features`.
            retriever: the checkpoint.
            index, index_options, name: as for [`Gallery`].
            cache: keep the frozen encoder's features on disk; see [`~cmr_hub.processing.feature_store.FeatureStore`].
            show_progress: show a bar.
            keep_real_valued: of a hashing method, keep the values behind the codes too, so that `search` can re-rank:
                32 times the codes' memory.

        Raises:
            InputError: a column that the checkpoint needs is missing, or an item cannot be used.
            UnknownNameError: there is no such index.
        """
        encoders = {"image": retriever.processor.image_encoder, "text": retriever.processor.text_encoder}
        inputs = {
            modality: read_column(dataset, column_of(dataset, modality, encoder.accepts_raw_input))
            for modality, encoder in encoders.items()
        }
        image_embeds = retriever.encode_images(inputs["image"], cache=cache, show_progress=show_progress)
        text_embeds = retriever.encode_texts(inputs["text"], show_progress=show_progress)
        real_valued: dict[Modality, np.ndarray] = {}
        if keep_real_valued and retriever.model.representation == "binary":
            real_valued["image"] = retriever.encode_images(inputs["image"], cache=cache, real_valued=True)
            real_valued["text"] = retriever.encode_texts(inputs["text"], real_valued=True)
        return cls(
            dataset,
            retriever,
            image_embeds,
            text_embeds,
            index=index,
            index_options=index_options,
            name=name,
            real_valued=real_valued,
        )

    @classmethod
    def build(
        cls,
        source: Source | Dataset | str | os.PathLike | Sequence[str | os.PathLike],
        retriever: Retriever,
        save_directory: str | os.PathLike,
        index: str = "auto",
        *,
        index_options: Mapping[str, Any] | None = None,
        name: str = "gallery",
        shard_rows: int = SHARD_ROWS,
        keep_images: bool = True,
        keep_real_valued: bool = False,
        skip_unusable: bool = False,
        show_progress: bool = True,
    ) -> Gallery:
        """Embed items of any number into a folder, shard by shard, and open it.

        Images are read, embedded and written a few hundred at a time. Interrupted, it goes on where it stopped when
        it is called again with the same arguments. Under `accelerate launch` each process embeds its share.

        Args:
            source: Parquet files (one, several, or a folder of them) with columns as for [`Gallery`], a folder of
                images (with a `metadata.csv` or without any text), or a data set.
            retriever: the checkpoint.
            save_directory: receives the gallery.
            index, index_options, name: as for [`Gallery`].
            shard_rows: items a file.
            keep_images: copy images into the shards, so that the folder is complete; otherwise their paths.
            keep_real_valued: as for [`from_dataset`].
            skip_unusable: leave out items whose image or text cannot be used, and log which; otherwise they raise.
            show_progress: show a bar.

        Raises:
            InputError: the source is none, a column is missing, an item cannot be used, or the folder holds another
                gallery's beginnings. What was embedded before stays.
        """
        Building(
            source,
            retriever,
            Path(save_directory),
            settings={"name": name, "index": index, "index_options": dict(index_options or {})},
            shard_rows=shard_rows,
            keep_images=keep_images,
            keep_real_valued=keep_real_valued,
            skip_unusable=skip_unusable,
        ).run(show_progress)
        return cls.from_pretrained(save_directory, retriever=retriever)

    def search(
        self,
        *,
        text: str | None = None,
        image: Any | None = None,
        item: str | None = None,
        target: Modality = "image",
        k: int = 10,
        source: Modality | None = None,
        label: str | Sequence[str] | None = None,
        rerank: int = 0,
    ) -> list[Hit]:
        """The items nearest to one query.

        Args:
            text: a text query.
            image: an image query: path, PIL image or array.
            item: the id of an item of this gallery as the query.
            target: which side of the items is compared: their images ("image") or their texts ("text").
            k: how many hits.
            source: with `item`, which of its sides is the query; by default the side that `target` is not.
            label: a class, or several of which one will do, that hits must have.
            rerank: of a hashing method or an approximate index, find so many (at least `k`), put them in order by the
                real-valued embeddings, and give the first `k` of these.

        Returns:
            `k` hits, best first; fewer where no more have the label or an approximate index finds no more. An item
            that is its own query on the same side is left out.

        Raises:
            InputError: none or several queries, an unknown item, an empty text or one without a known word, an image
                that cannot be used, a `k` that the gallery cannot fill, an unknown label, or re-ranking in a gallery
                that keeps no real-valued embeddings.
        """
        query = self._query(text, image, item, target, source)
        leaves_out_itself = query.item is not None and query.source == target
        self._check_k(k, len(self) - leaves_out_itself)
        exact = self._exact_rows(target) if rerank else None
        found = min(max(k, rerank) + leaves_out_itself, len(self))
        filter = None if label is None else self._filter(label)
        scores, rows = (each[0] for each in self.indexes[target].search(query.embeds(), found, filter))
        wanted = rows >= 0
        if leaves_out_itself:
            wanted &= rows != query.item
        scores, rows = scores[wanted], rows[wanted]
        if exact is not None:
            scores = exact[rows] @ query.embeds(real_valued=target in self.real_valued)[0]
            order = np.argsort(-scores, kind="stable")
            scores, rows = scores[order], rows[order]
        return self._hits(scores[:k], rows[:k], query.item)

    def range_search(
        self,
        *,
        text: str | None = None,
        image: Any | None = None,
        item: str | None = None,
        target: Modality = "image",
        source: Modality | None = None,
        radius: int = 2,
    ) -> list[Hit]:
        """Hash lookup: every item whose code lies within a Hamming radius of the query's, nearest first; maybe none.

        Args:
            text, image, item, target, source: as for [`search`].
            radius: largest Hamming distance, from 0 (the same code) to the code length.

        Raises:
            InputError: as for [`search`], a radius out of range, or a gallery of real-valued embeddings.
        """
        index = self.indexes.get(target)
        if index is not None and not hasattr(index, "range_search"):
            raise InputError(
                f"Lookup by radius is for binary codes in a Hamming index, and this gallery has the index "
                f"{self.index.name!r} of {kind_of(self.embeds[target])}."
            )
        query = self._query(text, image, item, target, source)
        codes = query.embeds()
        rows = index.range_search(codes, radius)[0]
        if query.source == target:
            rows = rows[rows != query.item]
        signs = unpack(codes)[0]
        return self._hits(unpack(self.embeds[target][rows]) @ signs / len(signs), rows, query.item)

    def _query(
        self, text: str | None, image: Any | None, item: str | None, target: Modality, source: Modality | None
    ) -> _Query:
        if sum(query is not None for query in (text, image, item)) != 1:
            raise InputError("Give exactly one query: text=…, image=… or item=….")
        if target not in COLUMNS or source not in (None, *COLUMNS):
            raise InputError(f"target and source are 'image' or 'text', not {target!r} and {source!r}.")
        if target not in self.indexes:
            raise InputError(
                f"The items of this gallery have no {target}s to find: its target is {self._modalities()}."
            )
        if text is not None:
            return _Query(partial(self._embed_text, text))
        if image is not None:
            return _Query(partial(self.retriever.encode_images, [image]))
        position, source = self.position(item), source or self.other_modality(target)
        if source not in self.embeds:
            raise InputError(f"The items of this gallery have no {source}s to search by: take {self._modalities()}.")

        def embeds(real_valued: bool = False) -> np.ndarray:
            return (self.real_valued if real_valued else self.embeds)[source][position][None]

        return _Query(embeds, position, source)

    def other_modality(self, target: Modality) -> Modality:
        """The side that an item asks with for `target`: the other one where there is one."""
        return next((modality for modality in self.embeds if modality != target), target)

    def _modalities(self) -> str:
        return " or ".join(repr(modality) for modality in self.embeds)

    def _exact_rows(self, target: Modality) -> np.ndarray:
        """What finds are re-ranked by."""
        if target in self.real_valued:
            return self.real_valued[target]
        if self.indexes[target].approximate and self.retriever.model.representation == "real-valued":
            return self.embeds[target]
        raise InputError(
            "This gallery keeps no real-valued embeddings to re-rank by: build it with keep_real_valued=True (and a "
            "hashing method; others are ranked by theirs anyway, unless the index is an approximate one)."
        )

    def _filter(self, label: str | Sequence[str]) -> Filter:
        """The items of one or several classes."""
        wanted = [label] if isinstance(label, str) else list(label)
        unknown = [name for name in wanted if name not in self.class_names]
        if unknown or not wanted:
            raise InputError(
                f"There is no class {unknown[0]!r} in this gallery: its classes are {', '.join(self.class_names)}."
                if unknown and self.class_names
                else "The items of this gallery have no classes, or none was named: search without label."
            )
        classes = {self.class_names.index(name) for name in wanted}
        rows = [row for row, labels in enumerate(self._labels) if not classes.isdisjoint(labels)]
        return Filter(np.array(rows, np.int64), tuple(wanted))

    def _embed_text(self, text: str, real_valued: bool = False) -> np.ndarray:
        if not isinstance(text, str) or not text.strip():
            raise InputError("The text query is empty: type at least one word.")
        if not self.retriever.has_known_tokens([text])[0]:
            raise InputError(
                f"The checkpoint knows no word of {text[:60]!r}. Its text encoder is "
                f"{self.retriever.processor.text_encoder.name!r}; try other words."
            )
        return self.retriever.encode_texts([text], real_valued=real_valued)

    @staticmethod
    def _check_k(k: int, largest: int) -> None:
        if not 1 <= k <= largest:
            raise InputError(f"k is {k}, and this gallery can give 1 to {largest} hits.")

    def _hits(self, scores: np.ndarray, rows: np.ndarray, query: int | None) -> list[Hit]:
        found = rows.tolist()
        texts = [()] * len(found) if self._texts is None or not found else self._texts[found]["texts"]
        return [
            Hit(self.ids[row], score, tuple(own), self.labels(row), row, self._same_class(query, row), self)
            for row, score, own in zip(found, scores.tolist(), texts, strict=True)
        ]

    def _same_class(self, query: int | None, row: int) -> bool | None:
        if query is None or self._labels is None:
            return None
        return not self._labels[query].isdisjoint(self._labels[row])

    def position(self, item: str) -> int:
        """The row of an item's id.

        Raises:
            InputError: there is no such item.
        """
        if item not in self._position:
            raise InputError(f"There is no item {item!r} in this gallery; its ids look like {self.ids[0]!r}.")
        return self._position[item]

    def labels(self, position: int) -> tuple[str, ...]:
        """Names of the classes of the item in row `position`."""
        return () if self._labels is None else tuple(self.class_names[i] for i in sorted(self._labels[position]))

    def texts(self, position: int) -> tuple[str, ...]:
        """Texts of the item in row `position`."""
        return () if self._texts is None else tuple(self._texts[position]["texts"])

    def image(self, position: int) -> PIL.Image.Image | None:
        """Image of the item in row `position`, or None where the data set has none."""
        return self.dataset[position]["image"] if "image" in self.dataset.column_names else None

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        """Write items with images and embeddings (Parquet) and settings (JSON), but no index: it is rebuilt.

        An earlier gallery in the folder survives a full disk or an interrupt.
        """
        columns = {EMBEDS[modality]: rows for modality, rows in self.embeds.items()}
        columns |= {REAL_VALUED[modality]: rows for modality, rows in self.real_valued.items()}
        with atomic_folder(save_directory) as scratch:
            for number, start in enumerate(range(0, len(self), SHARD_ROWS)):
                rows = range(start, min(start + SHARD_ROWS, len(self)))
                embeds = {column: each[rows.start : rows.stop] for column, each in columns.items()}
                write_items(shard_path(scratch, number), self.dataset.select(rows), embeds)
            config = {
                "name": self.name,
                "retriever": self.retriever.name,
                "fingerprint": self.retriever.fingerprint,
                "index": self.index.name,
                "index_options": self.index.options,
                "shards": number + 1,
            }
            write_config(scratch, config)
        for path in Path(save_directory).glob("items-*.parquet"):
            if path.name > shard_path(Path(), number).name:
                path.unlink()  # of a larger gallery that was here before

    @classmethod
    def from_pretrained(
        cls,
        repo_id_or_path: str | os.PathLike,
        *,
        retriever: Retriever | None = None,
        index: str | None = None,
        index_options: Mapping[str, Any] | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> Gallery:
        """Load a saved gallery from a folder or a data set repo on the Hub.

        Args:
            repo_id_or_path: folder or repo id.
            index, index_options: as for [`Gallery`], instead of those it was saved with.
            retriever: the checkpoint that it was embedded with; by default the one that lies in its folder
                `retriever`, or that it names, is loaded.
            revision: branch, tag or commit on the Hub.
            token: access token for private repos.

        Raises:
            CheckpointError: files that are missing or corrupt, or a retriever other than the one it was embedded with.
        """
        folder = resolve(repo_id_or_path, revision=revision, token=token, repo_type="dataset")
        config = read_json(folder / CONFIG_NAME)
        if retriever is None and (folder / RETRIEVER).is_dir():
            retriever = Retriever.from_pretrained(folder / RETRIEVER)
        if retriever is None:
            if not config.get("retriever"):
                raise CheckpointError(f"{folder} does not name its retriever: pass the one it was made with.")
            retriever = Retriever.from_pretrained(config["retriever"], token=token)
        if retriever.fingerprint != config.get("fingerprint"):
            raise CheckpointError(
                f"{folder} was embedded with other weights than those of {retriever.name!r}: pass the retriever it "
                f"was made with ({config.get('retriever')!r}), or build it anew with Gallery.from_dataset."
            )
        try:
            dataset, embeds = read_items([shard_path(folder, number) for number in range(config["shards"])])
            name, saved = config["name"], (config["index"], config["index_options"])
        except (OSError, KeyError, ValueError, pa.ArrowException, DatasetGenerationError) as error:
            raise CheckpointError(
                f"The gallery in {folder} cannot be read: {error!r}. Build or fetch it again."
            ) from error
        return cls(
            dataset,
            retriever,
            *(embeds.get(EMBEDS[modality]) for modality in ("image", "text")),
            index=saved[0] if index is None else index,
            index_options=saved[1] if index is None and index_options is None else index_options,
            name=name,
            real_valued={modality: embeds[key] for modality, key in REAL_VALUED.items() if key in embeds},
        )

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish as a data set repo with embeddings.

        Args:
            repo_id: "owner/name".
            options: as [`~cmr_hub.hub.push_folder`] takes them (`private`, `token`, `commit_message` …).

        Returns:
            The repo's address.
        """
        with tempfile.TemporaryDirectory() as scratch:
            self.save_pretrained(scratch)
            (Path(scratch) / "README.md").write_text(self._card())
            required = ("README.md", CONFIG_NAME, shard_path(Path(), 0).name)
            return push_folder(scratch, repo_id, repo_type="dataset", required=required, **options)

    def _card(self) -> str:
        info = self.dataset.info
        return (
            f"---\nlicense: {json.dumps(info.license or 'unknown')}\ntags:\n- cross-modal-retrieval\n"
            f"configs:\n- config_name: default\n  data_files: items-*.parquet\n---\n\n# {self.name}\n\n"
            f"{len(self)} items embedded by `{self.retriever.name}`. {info.description or ''}\n\n"
            f'```python\nimport cmr_hub\ngallery = cmr_hub.Gallery.from_pretrained("<this repo>")\n'
            f'gallery.search(text="…", k=10)\n```\n'
        )


def _label_ids(dataset: Dataset) -> Sequence[frozenset[int]] | None:
    """The class ids of each item, or None where the data set has no classes."""
    if isinstance(dataset.features.get("label"), ClassLabel):
        return [frozenset([label]) for label in dataset["label"][:]]
    if isinstance(getattr(dataset.features.get("labels"), "feature", None), ClassLabel):
        return [frozenset(labels) for labels in dataset["labels"][:]]
    return None
