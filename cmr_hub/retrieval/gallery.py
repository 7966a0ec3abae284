"""A data set embedded by a retriever, and searched."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import numpy as np
import PIL.Image
from datasets import Dataset, DatasetDict, concatenate_datasets

from cmr_hub.data.columns import Modality
from cmr_hub.data.image_cells import ImageFiles, read_images, resolve_images
from cmr_hub.data.standard_columns import standardize
from cmr_hub.errors import CheckpointError, InputError, UnknownNameError
from cmr_hub.indexes import INDEXES
from cmr_hub.utils.checkpoint_files import check_folder, read_json
from cmr_hub.utils.checksums import checked
from cmr_hub.utils.deprecation import RenamedAttribute, renamed_arguments
from cmr_hub.utils.hub import Location, resolve
from cmr_hub.utils.images import ImageSource

from .chance_scores import QUANTILE
from .gallery_building import Building
from .gallery_changes import GalleryFolder, check_ids, embed_new, open_new
from .gallery_checks import check_references, check_settings
from .gallery_contents import ContentReader
from .gallery_embedding import embed_at_once
from .gallery_files import EMBEDS, REAL_VALUED
from .gallery_indexes import build_index, check_embeds, chosen, options_to_open, options_to_save
from .gallery_layout import CONFIG_NAME, SHARD_ROWS, describe_duplicates, same_images
from .gallery_sources import Source
from .gallery_storage import StoredGallery, load_retriever
from .image_domain import SAMPLE
from .items import Items
from .queries import Query, read_queries
from .remote_gallery import RemoteGallery
from .retriever import Retriever
from .search import Hit, Searcher

__all__ = ["Gallery", "Hit"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
Several = list[T] | tuple[T, ...]
Texts = str | Mapping[str, float]  # one, or several and their weights
Images = ImageSource | Mapping[str | os.PathLike, float]


class Gallery:
    """Items that can be found by text, by image, or by one another.

    Args:
        dataset: `n` items with columns `image`, `texts`, `label` or `labels`, where the source has them, or such that
            [`~cmr_hub.data.standard_columns.standardize`] makes these of. Without `id` they are numbered.
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
        image_root: the folder in which files must be that image cells name. Without it a data set in memory may name
            any local file, and one that is mapped from disk, as downloaded ones are, none.

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
        image_root: str | os.PathLike | None = None,
    ):
        dataset = standardize(dataset)
        self._items = Items(dataset, ImageFiles.of(dataset, image_root))
        given: dict[Modality, np.ndarray | None] = {"image": image_embeds, "text": text_embeds}
        self.embeds: dict[Modality, np.ndarray] = {
            modality: rows for modality, rows in given.items() if rows is not None
        }
        check_embeds(self.embeds, len(self._items), retriever)
        self.dataset, self.retriever, self.name = dataset, retriever, name
        self.real_valued = dict(real_valued or {})
        self.ids, self.class_names = self._items.ids, self._items.class_names
        self.index = chosen(index, index_options or {}, retriever.model.representation, len(self), name)
        self._folder: GalleryFolder | None = None
        self._make_indexes()
        # Credentials are for the indexes alone: what is left here is printed and saved.
        self.index = replace(self.index, options=options_to_save(self.index.name, self.index.options))

    def _make_indexes(self) -> None:
        """Make what is searched from the embeddings."""
        self.indexes = {
            modality: build_index(self.index, rows, self._items, self.name, modality)
            for modality, rows in self.embeds.items()
        }
        self._searcher = Searcher(self._items, self.retriever, self.embeds, self.real_valued, self.indexes)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return (
            f"Gallery({self.name!r}, items={len(self)}, retriever={self.retriever.name!r}, index={self.index.name!r})"
        )

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset | DatasetDict,
        retriever: Retriever,
        index: str = "auto",
        *,
        index_options: Mapping[str, Any] | None = None,
        name: str = "gallery",
        cache: bool = True,
        show_progress: bool = False,
        keep_real_valued: bool = False,
        image_root: str | os.PathLike | None = None,
    ) -> Gallery:
        """Embed a data set that fits in memory; [`build`] embeds any.

        Args:
            dataset: items as for [`Gallery`], of images, of texts or of both; checkpoints on released features read
                `image_features`, `text_features`. Of a `DatasetDict` all splits.
            retriever: the checkpoint.
            index: name of an index, as for [`Gallery`].
            index_options: options of the index, as for [`Gallery`].
            name: what people call it.
            cache: keep the frozen encoder's features on disk; see [`~cmr_hub.processing.feature_store.FeatureStore`].
            show_progress: show a bar.
            keep_real_valued: of a hashing method, keep the values behind the codes too, so that `search` can re-rank:
                32 times the codes' memory.
            image_root: the folder in which files must be that image cells name, as for [`Gallery`].

        Raises:
            InputError: a column that the checkpoint needs is missing, or an item cannot be used.
            UnknownNameError: there is no such index.
        """
        if isinstance(dataset, DatasetDict):
            dataset = concatenate_datasets(list(dataset.values()))
        dataset = standardize(dataset)
        if image_root is not None:
            dataset = resolve_images(dataset, image_root)
        embeds, values = embed_at_once(
            dataset, retriever, cache=cache, show_progress=show_progress, keep_real_valued=keep_real_valued
        )
        gallery = cls(
            dataset,
            retriever,
            embeds.get("image"),
            embeds.get("text"),
            index=index,
            index_options=index_options,
            name=name,
            real_valued=values,
        )
        return gallery._warn_of_domain()

    @classmethod
    @renamed_arguments(keep_pictures="keep_images")
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
        strict: bool = False,
        show_progress: bool = True,
        image_root: str | os.PathLike | None = None,
        remove_missing: bool = False,
    ) -> Gallery:
        """Embed items of any number into a folder, shard by shard, and open it.

        Images are read, embedded and written a few hundred at a time. Interrupted, it goes on where it stopped when
        it is called again with the same arguments. Called again later, it embeds the items of the source that are new
        or whose content is another one than before, and no others; the gallery stays as it was until all are. Items
        are compared by digests of their content; an image file is not read again while its path, size and times are
        the same. Under `accelerate launch` each process embeds its share.

        Args:
            source: Parquet files (one, several, or a folder of them) with columns as for [`Gallery`], a folder of
                images (with a `metadata.csv` or without any text), an archive of one (ZIP or TAR), image files, or a
                data set.
            retriever: the checkpoint.
            save_directory: receives the gallery.
            index: name of an index, as for [`Gallery`].
            index_options: options of the index, as for [`Gallery`].
            name: what people call it.
            shard_rows: items a file.
            keep_images: copy images into the shards, so that the folder is complete; otherwise their paths, and who
                opens the gallery later names their folder (`image_root`).
            keep_real_valued: as for [`from_dataset`].
            strict: raise where the image or text of an item cannot be used. Otherwise such items are left out, a
                warning names some of them, and `unusable.csv` in the folder lists all with the reasons; called again,
                those are added that can be used by then, as with an extra that was not installed.
            show_progress: show a bar.
            image_root: the folder in which files must be that image cells of Parquet files name; without it such
                cells are refused. URLs are never opened.
            remove_missing: called again, drop the items of the gallery that the source no longer has. Otherwise they
                stay, behind those of the source.

        Raises:
            InputError: the source is none, a column is missing, no item can be used (with `strict` any), or the folder
                holds a gallery of other settings or weights, finished or not, or one that has no item of the source.
                What was embedded before stays.
            ConflictError: another process is changing the gallery.
        """
        building = Building(
            source,
            retriever,
            Path(save_directory),
            settings={"name": name, "index": index, "index_options": options_to_save(index, index_options or {})},
            shard_rows=shard_rows,
            keep_images=keep_images,
            keep_real_valued=keep_real_valued,
            strict=strict,
            image_root=image_root,
            remove_missing=remove_missing,
        )
        building.run(show_progress)
        if building.outcome and building.outcome.duplicates:
            logger.info("%s", describe_duplicates(building.outcome.duplicates))
        gallery = cls.from_pretrained(
            save_directory,
            retriever=retriever,
            index=index,
            index_options=index_options,
            image_root=None if keep_images else building.source.folder_of_images(),
        )
        return gallery._warn_of_domain()

    @overload
    def search(
        self,
        query: Query | None = None,
        *,
        text: Texts | None = None,
        image: Images | None = None,
        item: Texts | None = None,
        target: Modality = "image",
        k: int = 10,
        source: Modality | None = None,
        label: str | Sequence[str] | None = None,
        rerank: int = 0,
        focus: float | None = None,
        min_score: float | Literal["auto"] | None = None,
    ) -> list[Hit]: ...

    @overload
    def search(
        self,
        query: Sequence[Query] | None = None,
        *,
        text: Several[Texts] | None = None,
        image: Several[Images] | None = None,
        item: Several[Texts] | None = None,
        target: Modality = "image",
        k: int = 10,
        source: Modality | None = None,
        label: str | Sequence[str] | None = None,
        rerank: int = 0,
        focus: float | None = None,
        min_score: float | Literal["auto"] | None = None,
    ) -> list[list[Hit]]: ...

    @overload
    def search(
        self,
        query: Query | Sequence[Query] | None = None,
        *,
        text: Texts | Several[Texts] | None = None,
        image: Images | Several[Images] | None = None,
        item: Texts | Several[Texts] | None = None,
        target: Modality = "image",
        k: int = 10,
        source: Modality | None = None,
        label: str | Sequence[str] | None = None,
        rerank: int = 0,
        focus: float | None = None,
        min_score: float | Literal["auto"] | None = None,
    ) -> list[Hit] | list[list[Hit]]: ...

    def search(
        self,
        query: Query | Sequence[Query] | None = None,
        *,
        text: Texts | Several[Texts] | None = None,
        image: Images | Several[Images] | None = None,
        item: Texts | Several[Texts] | None = None,
        target: Modality = "image",
        k: int = 10,
        source: Modality | None = None,
        label: str | Sequence[str] | None = None,
        rerank: int = 0,
        focus: float | None = None,
        min_score: float | Literal["auto"] | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """The items nearest to one query, or to each of several.

        A text, an image and an item that are given together are one query: hits are like all of them. A mapping gives
        several terms of one query their weights, `text={"horse": 1, "stripes": 1, "snow": -0.5}`; below 0 hits are to
        be unlike the term. A list is several queries: `text=["a cat", "a dog"]`, and next to an image each of these
        words together with the image.

        Args:
            query: [`~cmr_hub.Query`]s instead of `text`, `image` and `item`, such as for the weights of images in
                memory.
            text: a text, or a mapping of texts to weights; or a list of these.
            image: an image: path, PIL image or array; or a mapping of paths to weights; or a list of these.
            item: the id of an item of this gallery, or a mapping of ids to weights; or a list of these.
            target: which side of the items is compared: their images ("image") or their texts ("text").
            k: how many hits, as far as there are so many items.
            source: with `item`, which of its sides is the query; by default the side that `target` is not.
            label: a class, or several of which one will do, that hits must have.
            rerank: of a hashing method or an approximate index, find so many (at least `k`), put them in order by the
                real-valued embeddings, and give the first `k` of these.
            focus: of a method whose embeddings have a class part and an item part (unified), from 0 (the same kind of
                thing) to 1 (this very thing); by default the checkpoint's own. It weighs the query alone: nothing is
                embedded again. Of codes the index 'hamming' alone weighs parts.
            min_score: leave out hits with a lower score; "auto" for what [`suggest_min_score`] gives of such a query.

        Returns:
            `k` hits, best first; fewer where there are no more items, no more have the label or the score, or an
            approximate index finds no more. Items that are searched by on the same side are left out. Of several
            queries a list with the hits of each. The query of several terms is the sum of their embeddings of unit
            length, each times its weight, brought to unit length again (of two parts each part by itself); of a
            hashing method the sum is that of the values behind the codes, and its signs are the code.

        Raises:
            InputError: no query, an unknown item, an empty text or one without a known word, an image that cannot be
                used, a `k` below 1, an unknown label, re-ranking in a gallery that keeps no real-valued embeddings, a
                `min_score` that is no score, or a focus that is not from 0 to 1 or that the checkpoint or the index
                does not support. Of several terms: none with a weight above 0, weights that are no finite numbers,
                terms that cancel each other out, or an item in a gallery of codes that keeps no real-valued
                embeddings. Of several queries the first such one is named.

        Example:
        ```python
        >>> import cmr_hub
        >>> from cmr_hub.data import load_dataset
        >>> unified = cmr_hub.from_pretrained("cmr/unified-emoji")
        >>> gallery = cmr_hub.Gallery.from_dataset(load_dataset("emoji")["test"], unified)
        >>> hits = gallery.search(text={"flag": 1, "star": 0.5, "red": -0.3}, k=3)
        >>> [hit.labels for hit in hits]
        [('Flags',), ('Flags',), ('Flags',)]
        ```
        """
        queries = read_queries(query, text=text, image=image, item=item, source=source)
        return self._searcher.search(queries, target, k, label, rerank, focus, min_score)

    @overload
    def range_search(
        self,
        query: Query | None = None,
        *,
        text: Texts | None = None,
        image: Images | None = None,
        item: Texts | None = None,
        target: Modality = "image",
        source: Modality | None = None,
        radius: int = 2,
    ) -> list[Hit]: ...

    @overload
    def range_search(
        self,
        query: Sequence[Query] | None = None,
        *,
        text: Several[Texts] | None = None,
        image: Several[Images] | None = None,
        item: Several[Texts] | None = None,
        target: Modality = "image",
        source: Modality | None = None,
        radius: int = 2,
    ) -> list[list[Hit]]: ...

    @overload
    def range_search(
        self,
        query: Query | Sequence[Query] | None = None,
        *,
        text: Texts | Several[Texts] | None = None,
        image: Images | Several[Images] | None = None,
        item: Texts | Several[Texts] | None = None,
        target: Modality = "image",
        source: Modality | None = None,
        radius: int = 2,
    ) -> list[Hit] | list[list[Hit]]: ...

    def range_search(
        self,
        query: Query | Sequence[Query] | None = None,
        *,
        text: Texts | Several[Texts] | None = None,
        image: Images | Several[Images] | None = None,
        item: Texts | Several[Texts] | None = None,
        target: Modality = "image",
        source: Modality | None = None,
        radius: int = 2,
    ) -> list[Hit] | list[list[Hit]]:
        """Hash lookup: every item whose code lies within a Hamming radius of the query's, nearest first; maybe none.

        Whole codes are compared, also those that have a class part and an item part.

        Args:
            query: queries as they are, as for [`search`].
            text: a text or weighted texts, or a list of them, as for [`search`].
            image: an image or weighted images, or a list of them, as for [`search`].
            item: the id of an item of this gallery or weighted ids, or a list of them, as for [`search`].
            target: which modality of the items is compared, "image" or "text".
            source: with `item`, which of its modalities is the query, as for [`search`].
            radius: largest Hamming distance, from 0 (the same code) to the code length.

        Raises:
            InputError: as for [`search`], a radius out of range, or a gallery of real-valued embeddings.
        """
        queries = read_queries(query, text=text, image=image, item=item, source=source)
        return self._searcher.range_search(queries, target, radius)

    def notes(
        self, query: Query | None = None, *, text: Texts | None = None, image: Images | None = None
    ) -> list[str]:
        """What speaks against the hits of a query, as sentences.

        Words of a text that the checkpoint does not know; an image, or images of the gallery, that are unlike those
        that it was trained on. [`search`] and [`range_search`] log what is of the query as warnings, [`from_dataset`]
        and [`build`] what is of the gallery.

        Args:
            query: a query as it is, instead of the others.
            text: a text or weighted texts, as for [`search`].
            image: an image or weighted images, as for [`search`].

        Raises:
            InputError: a text is empty or has no word that the checkpoint knows.

        Example:
        ```python
        >>> gallery.notes(text="red Sonnenbrille")  # doctest: +SKIP
        ['No vector for: sonnenbrille. The query is answered without.']
        ```
        """
        of_query: list[str] = []
        if query is not None or text is not None or image is not None:
            asked = read_queries(query, text=text, image=image)
            for one in [asked] if isinstance(asked, Query) else asked:
                of_query += self._searcher.notes(one)
        return of_query + ([self._domain_note] if self._domain_note else [])

    def search_with_notes(
        self, queries: Sequence[Query], target: Modality = "image", **options: Any
    ) -> list[tuple[list[Hit], list[str]]]:
        """The hits of several queries and the notes on each, which are returned and not logged.

        Args:
            queries: at least one.
            target: as for [`search`].
            **options: `k`, `label`, `rerank`, `focus` and `min_score`, as for [`search`].

        Returns:
            The hits of each query, and what [`notes`] gives of it.

        Raises:
            InputError: as for [`search`].

        Example:
        ```python
        >>> gallery.search_with_notes([cmr_hub.Query(cmr_hub.Term(text="a cat"))], k=3)  # doctest: +SKIP
        ```
        """
        notes: list[list[str]] = []
        settings: dict[str, Any] = {"k": 10, "label": None, "rerank": 0, **options}
        found: Any = self._searcher.search(list(queries), target, tell=notes.append, **settings)
        of_gallery = [self._domain_note] if self._domain_note else []
        return [(hits, own + of_gallery) for hits, own in zip(found, notes, strict=True)]

    def embed_query(self, query: Query, target: Modality = "image") -> np.ndarray:
        """The embedding that a query is searched by, before a focus weighs its parts.

        Args:
            query: one query.
            target: as for [`search`].

        Returns:
            `(1, d)`, of the kind of the gallery's embeddings.

        Raises:
            InputError: as for [`search`].
        """
        return self._searcher.embed(query, target)

    def suggest_min_score(
        self,
        target: Modality = "image",
        *,
        source: Modality | None = None,
        focus: float | None = None,
        quantile: float = QUANTILE,
    ) -> float:
        """A `min_score` for [`search`]: what random queries score against items that they have nothing to do with.

        Hits above it are no chance finds; there need not be any. It is measured on up to 1,000 of the gallery's items,
        the texts (or images) of some against the images (or texts) of others of other classes, when it is first asked
        for. Where items have no texts, ordinary texts stand for them.

        Args:
            target: which modality of the items is searched.
            source: the modality of queries; by default the one that `target` is not, and a text where items have
                images alone.
            focus: as for [`search`].
            quantile: the share of such pairs that score lower. By 0.99 a hundredth of the gallery is found by any
                query; a large gallery wants 0.999.

        Raises:
            InputError: items have nothing to ask with, a single item, a quantile that is not between 0 and 1, or a
                focus that [`search`] would refuse.

        Example:
        ```python
        >>> import cmr_hub
        >>> from cmr_hub.data import load_dataset
        >>> unified = cmr_hub.from_pretrained("cmr/unified-emoji")
        >>> gallery = cmr_hub.Gallery.from_dataset(load_dataset("emoji")["test"], unified)
        >>> hits = gallery.search(text="a smiling cat", k=100, min_score=gallery.suggest_min_score())
        >>> 0 < len(hits) < 100
        True
        ```
        """
        source = source or ("text" if target == "image" else "image")
        return self._searcher.suggest_min_score((source,), (1.0,), target, focus, quantile)

    @cached_property
    def _domain_note(self) -> str:
        """That the images are unlike those of the checkpoint's training; "" where it is not so, or not known."""
        if self.retriever.image_domain is None or "image" not in self.dataset.column_names:
            return ""
        rows = range(0, len(self), -(-len(self) // SAMPLE))
        try:
            images = read_images(self.dataset.select(rows), "image", files=self._items.image_files)
            return self.retriever.check_sample([image for image in images if image and any(image.values())])
        except InputError:  # an image that cannot be used is somebody else's to name
            return ""

    def _warn_of_domain(self) -> Gallery:
        if self._domain_note:
            logger.warning("%s: %s", self.name, self._domain_note)
        return self

    def duplicates(self) -> list[tuple[str, ...]]:
        """Find items whose images are the same, byte for byte.

        Returns:
            Groups of two or more ids, in the order of the items.

        Raises:
            InputError: images are files that may not be opened, as for [`image`].
        """
        if "image" not in self.dataset.column_names:
            return []
        reader = ContentReader(self._items.image_files, [], with_paths=False)
        images = self.dataset.select_columns(["id", "image"])
        parts = (
            images.select(range(start, min(start + SHARD_ROWS, len(self))))
            for start in range(0, len(self), SHARD_ROWS)
        )
        return same_images([content for part in parts for content in reader.read(part)])

    def add(
        self,
        source: Source | Dataset | str | os.PathLike | Sequence[str | os.PathLike],
        *,
        image_root: Path | None = None,
    ) -> list[str]:
        """Add items, behind those that are there.

        Only they are embedded. A gallery that was built in a folder, or opened from one, is saved there with them
        before it has them in memory; an error leaves both as they were.

        Args:
            source: as for [`build`], with the gallery's columns; they have to fit in memory. Images of a gallery that
                refers to files have to be in its folder of images, and their paths in it are their ids.
            image_root: the folder in which files must be that image cells name, as for [`build`].

        Returns:
            The ids of the new items.

        Raises:
            InputError: an item cannot be used, an id is taken, a class is none of the gallery's, or the index is on a
                server.
            ConflictError: another process is changing the gallery, or has changed it since it was opened.

        Example:
        ```python
        >>> gallery.add(["photos/new.jpg"])  # doctest: +SKIP
        ['new.jpg']
        ```
        """
        self._check_may_change()
        copies = self._folder.copies_images if self._folder is not None else not self._items.image_files.is_trusted
        opened = open_new(source, image_root, None if copies else self._items.image_files.root)
        check_ids(opened.read(0, len(opened))["id"][:], set(self.ids))
        new = embed_new(
            opened,
            self.retriever,
            self.dataset.features,
            keep_real_valued=bool(self.real_valued),
            copy_images=copies,
        )
        embeds = {modality: new.embeds.get(EMBEDS[modality]) for modality in self.embeds}
        if any(rows is None for rows in embeds.values()) or len(new.embeds) != len(embeds) + len(self.real_valued):
            raise InputError(
                f"The items of this gallery have {' and '.join(f'{one}s' for one in embeds)}: give these."
            )
        if self._folder is not None:
            if groups := self._folder.duplicates(new):
                logger.info("%s", describe_duplicates(groups))
            self._folder.change(added=new)
        self._replace(
            concatenate_datasets([self.dataset, new.dataset]),
            {modality: np.concatenate([self.embeds[modality], rows]) for modality, rows in embeds.items()},
            {
                modality: np.concatenate([rows, new.embeds[REAL_VALUED[modality]]])
                for modality, rows in self.real_valued.items()
            },
        )
        return list(new.dataset["id"][:])

    def remove(self, ids: str | Sequence[str]) -> None:
        """Remove items.

        A gallery that was built in a folder, or opened from one, is saved there without them first.

        Args:
            ids: of the items.

        Raises:
            InputError: there is no such item, no item would be left, or the index is on a server. Nothing was removed.
            ConflictError: another process is changing the gallery, or has changed it since it was opened.
        """
        self._check_may_change()
        gone = {self.position(item) for item in ([ids] if isinstance(ids, str) else ids)}
        left = [row for row in range(len(self)) if row not in gone]
        if not left:
            raise InputError("A gallery needs at least one item, and all would be removed: remove its folder instead.")
        if self._folder is not None and gone:
            self._folder.change(removed=gone)
        self._replace(
            self.dataset.select(left),
            {modality: rows[left] for modality, rows in self.embeds.items()},
            {modality: rows[left] for modality, rows in self.real_valued.items()},
        )

    def _check_may_change(self) -> None:
        if INDEXES[self.index.name].wants_metadata:
            raise InputError(
                f"The items of this gallery are in the index {self.index.name!r}, which is not changed item by item: "
                "run Gallery.build again."
            )

    def _replace(
        self, dataset: Dataset, embeds: dict[Modality, np.ndarray], real_valued: dict[Modality, np.ndarray]
    ) -> None:
        """Have other items from now on."""
        self._items = Items(dataset, self._items.image_files)
        self.dataset, self.embeds, self.real_valued = dataset, embeds, real_valued
        self.ids, self.class_names = self._items.ids, self._items.class_names
        self.__dict__.pop("_domain_note", None)
        self._make_indexes()

    def other_modality(self, target: Modality) -> Modality:
        """The modality that an item asks with for `target`: the other one where there is one."""
        return self._searcher.other_modality(target)

    def position(self, item: str) -> int:
        """The row of an item's id.

        Raises:
            InputError: there is no such item.
        """
        return self._items.position(item)

    def labels(self, position: int) -> tuple[str, ...]:
        """Names of the classes of the item in row `position`."""
        return self._items.labels(position)

    def texts(self, position: int) -> tuple[str, ...]:
        """Texts of the item in row `position`."""
        return self._items.texts([position])[0]

    def image(self, position: int, *, min_side: int | None = None) -> PIL.Image.Image | None:
        """Image of the item in row `position`, or None where the data set has none.

        Args:
            position: the row.
            min_side: scale a large image down by a whole number, so that it takes little memory, as long as its
                shorter side keeps this many pixels (and its longer one has more than four times as many).

        Raises:
            InputError: the image cannot be used, or it is a file outside of the `image_root`.
        """
        return self._items.image(position, min_side=min_side)

    lookup = RenamedAttribute("range_search")
    other_side = RenamedAttribute("other_modality")
    picture = RenamedAttribute("image")

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        """Write items with images and embeddings (Parquet) and settings (JSON), but no index: it is rebuilt.

        An earlier gallery in the folder survives a full disk or an interrupt.
        """
        self._stored().save(save_directory, self.retriever)

    @classmethod
    def from_pretrained(
        cls,
        repo_id_or_path: str | os.PathLike,
        *,
        retriever: Retriever | None = None,
        index: str | None = None,
        index_options: Mapping[str, Any] | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike | None = None,
        subfolder: str = "",
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        verify: bool = True,
        image_root: str | os.PathLike | None = None,
    ) -> Gallery:
        """Load a saved gallery from a folder or a data set repo on the Hub.

        Args:
            repo_id_or_path: folder or repo id.
            retriever: the checkpoint that it was embedded with; by default the one that lies in its folder
                `retriever`, or that it names, is loaded.
            index: name of an index, as for [`Gallery`], instead of the one it was saved with.
            index_options: options of the index, as for [`Gallery`], instead of those it was saved with. An index on a
                server needs at least its `address` here (or `$MILVUS_URI`), which is then added to the saved options:
                a gallery does not choose which servers are contacted.
            revision: branch, tag or commit on the Hub.
            cache_dir: where downloads, also of the retriever, are stored and looked for; default is the cache of
                Hugging Face.
            subfolder: the folder inside the repo or folder that is the gallery.
            token: access token for private repos, also of the retriever.
            local_files_only: never ask the Hub, also not for the retriever.
            force_download: fetch every file of the gallery again.
            verify: compare the files with their digests in `checksums.json`, where the gallery has it.
            image_root: the folder of the image files, where the gallery has their paths instead of copies. Files
                outside of it are not opened; without it none is.

        Raises:
            CheckpointError: files that are missing or corrupt, or a retriever other than the one it was embedded with.
            InputError: the gallery names a server that is not confirmed.
        """
        source: Location = {"cache_dir": cache_dir, "token": token, "local_files_only": local_files_only}
        location: Location = {
            **source,
            "revision": revision,
            "subfolder": subfolder,
            "force_download": force_download,
        }
        folder = resolve(repo_id_or_path, repo_type="dataset", **location)
        with checked(folder, verify):
            check_folder(folder)
            config = read_json(folder / CONFIG_NAME)
            check_settings(config, folder / CONFIG_NAME)
            if not os.path.isdir(os.path.expanduser(repo_id_or_path)):
                check_references(config, folder / CONFIG_NAME)
            retriever = load_retriever(folder, config, retriever, source, verify)
            stored = StoredGallery.load(folder, config)
            # A copy of the Hub's is in a cache, which others share.
            opened_folder = GalleryFolder(folder) if os.path.isdir(os.path.expanduser(repo_id_or_path)) else None
        is_given = index is not None or index_options is not None
        if index is None:
            index_options = options_to_open(stored.index, stored.index_options, index_options)
        try:
            gallery = cls(
                stored.dataset,
                retriever,
                stored.embeds.get("image"),
                stored.embeds.get("text"),
                index=stored.index if index is None else index,
                index_options=index_options,
                name=stored.name,
                real_valued=stored.real_valued,
                image_root=image_root,
            )
        except (InputError, UnknownNameError) as error:
            if is_given:
                raise
            raise CheckpointError(f"The gallery in {folder} cannot be opened: {error}") from error
        gallery._folder = opened_folder
        return gallery

    @staticmethod
    def connect(
        collection: str,
        retriever: Retriever,
        *,
        address: str | None = None,
        token: str | None = None,
        folder: str | os.PathLike | None = None,
        image_root: str | os.PathLike | None = None,
        create: bool = False,
        modalities: Sequence[Modality] = ("image", "text"),
        timeout: float = 60.0,
        index_type: str = "FLAT",
        index_params: Mapping[str, Any] | None = None,
        search_params: Mapping[str, Any] | None = None,
    ) -> RemoteGallery:
        """A gallery on a Milvus server, searched and filled without a copy of its items on this machine.

        Args:
            collection: its name: that of `index_options` or of the gallery where an index 'milvus' made it.
            retriever: the checkpoint that made it, which embeds queries and new items.
            address: of the server, as for [`~cmr_hub.indexes.milvus.MilvusIndex`], like the next two.
            token: "user:password" or an API key.
            folder: of a server that is started on this machine.
            image_root: the folder in which image files are on this machine, if they are; hits have images then.
            create: make the collections where they are not there.
            modalities: which collections to open or create; those that are not there are left out.
            timeout: seconds that a request may take.
            index_type: "FLAT", "IVF_FLAT" or "HNSW", as for [`~cmr_hub.indexes.milvus.MilvusIndex`].
            index_params: Milvus' own for building.
            search_params: Milvus' own for searching.

        Raises:
            CheckpointError: there is no such collection, and `create` is False.
            InputError: it was made by another checkpoint, or with another index.
            MissingExtraError: pymilvus is not installed.
            ServerError: the server cannot be reached, does not answer in time, or refuses.

        Example (it needs a server):

        ```python
        photos = cmr_hub.Gallery.connect("photos", retriever, address="http://milvus.example:19530", create=True)
        photos.add(load_dataset("folder", data_dir="photos-of-this-machine")["train"])
        photos.search(text="a beach", label="sea")
        ```
        """
        options: dict[str, Any] = {"address": address, "token": token, "folder": folder, "timeout": timeout}
        options |= {"index_type": index_type, "index_params": index_params, "search_params": search_params}
        return RemoteGallery.connect(
            collection, retriever, image_root=image_root, create=create, modalities=modalities, **options
        )

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish as a data set repo with embeddings.

        Args:
            repo_id: "owner/name".
            options: as [`~cmr_hub.hub.push_folder`] takes them (`private`, `token`, `commit_message` …).

        Returns:
            The repo's address.
        """
        return self._stored().push(self.retriever, repo_id, **options)

    def _stored(self) -> StoredGallery:
        return StoredGallery(
            self.name,
            self.dataset,
            self.embeds,
            self.real_valued,
            self.index.name,
            self.index.options,
            self._items.image_files,
        )
