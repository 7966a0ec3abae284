"""A data set embedded by a retriever, and searched."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from datasets import ClassLabel, Dataset
from datasets.table import embed_table_storage
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from .codes import kind_of, unpack, warn_if_degenerate
from .columns import COLUMNS, Side, column_of, read_column
from .errors import CheckpointError, InputError
from .files import atomic_folder
from .hub import push_folder, read_json, resolve
from .indexes import INDEXES, choose_index
from .labels import class_names
from .retriever import Retriever

CONFIG_NAME = "gallery_config.json"
ITEMS_NAME = "items.parquet"
EMBEDDINGS_NAME = "embeddings.safetensors"


@dataclass(frozen=True)
class Hit:
    """One found item.

    Attributes:
        id: the item's id in its data set.
        score: cosine similarity to the query, in [-1, 1]; of codes that of their signs, 1 - 2 distance / bits.
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
        """The item's picture, decoded when asked for; None where the data set came as features only."""
        return None if self._gallery is None else self._gallery.picture(self.position)


@dataclass(frozen=True)
class _Query:
    """A query that has been understood.

    Attributes:
        embeds: gives its `(1, d)` embedding, on request the real-valued one.
        item: the row that it is in the gallery, if any, and which of its sides it is.
    """

    embeds: Callable[..., np.ndarray]
    item: int | None = None
    source: Side | None = None


class Gallery:
    """Items that can be found by text, by picture, or by one another.

    Args:
        dataset: `n` items with an `id` column, and, where the source has them, `image`, `texts`, `label` or `labels`.
        retriever: the checkpoint that queries are embedded with.
        image_embeds: `(n, d)` float32 rows of unit length, or of a hashing method `(n, bits // 8)` uint8 codes.
        text_embeds: likewise.
        index: name of an index in `cmr_hub.indexes`; "auto" is the exact one for the retriever's embeddings.
        name: what people call it.
        real_valued: of a hashing method "image" and "text" -> the `(n, bits)` float rows of unit length whose signs
            the codes are, where `search` is to re-rank by them.

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
        image_embeds: np.ndarray,
        text_embeds: np.ndarray,
        *,
        index: str = "auto",
        name: str = "gallery",
        real_valued: Mapping[Side, np.ndarray] | None = None,
    ):
        if len(dataset) == 0:
            raise InputError("A gallery needs at least one item, and this data set has none.")
        index = choose_index(retriever.model.representation, len(dataset)).name if index == "auto" else index
        index_class = INDEXES[index]
        self.embeds: dict[Side, np.ndarray] = {"image": image_embeds, "text": text_embeds}
        wanted = retriever.encode_texts([])
        for side, embeds in self.embeds.items():
            if embeds.ndim != 2 or (len(embeds), kind_of(embeds)) != (len(dataset), kind_of(wanted)):
                raise InputError(
                    f"{side}_embeds must be {len(dataset)} rows of {kind_of(wanted)}, as {retriever.name!r} gives "
                    f"them, not of the shape {embeds.shape} and the type {embeds.dtype}."
                )
            if wanted.dtype == np.uint8:
                warn_if_degenerate(embeds, f"gallery's {side}s")
        self.dataset, self.retriever, self.index_name, self.name = dataset, retriever, index, name
        self.real_valued = dict(real_valued or {})
        self.indexes = {side: index_class(embeds) for side, embeds in self.embeds.items()}
        self.ids: list[str] = dataset["id"][:]
        self._position = {item: i for i, item in enumerate(self.ids)}
        if len(self._position) < len(self.ids):
            raise InputError("The ids of a gallery's items must differ, and some are given twice.")
        self._texts = dataset["texts"][:] if "texts" in dataset.column_names else [[]] * len(dataset)
        self._labels = _label_ids(dataset)
        self.class_names = class_names(dataset) if self._labels is not None else []

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return (
            f"Gallery({self.name!r}, items={len(self)}, retriever={self.retriever.name!r}, index={self.index_name!r})"
        )

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset,
        retriever: Retriever,
        index: str = "auto",
        *,
        name: str = "gallery",
        cache: bool = True,
        show_progress: bool = False,
        keep_real_valued: bool = False,
    ) -> Gallery:
        """Embed a data set.

        Args:
            dataset: items as for [`Gallery`]; checkpoints on released features read `image_features`, `text_features`.
            retriever: the checkpoint.
            index: name of an index; "auto" is the exact one for the retriever's embeddings.
            name: what people call the gallery.
            cache: keep the frozen encoder's features on disk; see [`~cmr_hub.features.FeatureStore`].
            show_progress: show a bar.
            keep_real_valued: of a hashing method, keep the values behind the codes too, so that `search` can re-rank:
                32 times the codes' memory.

        Raises:
            InputError: a column that the checkpoint needs is missing, or an item cannot be used.
            UnknownNameError: there is no such index.
        """
        encoders = {"image": retriever.processor.image_encoder, "text": retriever.processor.text_encoder}
        inputs = {
            side: read_column(dataset, column_of(dataset, side, encoder.takes_raw))
            for side, encoder in encoders.items()
        }
        image_embeds = retriever.encode_images(inputs["image"], cache=cache, show_progress=show_progress)
        text_embeds = retriever.encode_texts(inputs["text"], show_progress=show_progress)
        real_valued: dict[Side, np.ndarray] = {}
        if keep_real_valued and retriever.model.representation == "binary":
            real_valued["image"] = retriever.encode_images(inputs["image"], cache=cache, real_valued=True)
            real_valued["text"] = retriever.encode_texts(inputs["text"], real_valued=True)
        return cls(dataset, retriever, image_embeds, text_embeds, index=index, name=name, real_valued=real_valued)

    def search(
        self,
        *,
        text: str | None = None,
        image: Any | None = None,
        item: str | None = None,
        target: Side = "image",
        k: int = 10,
        source: Side | None = None,
        rerank: int = 0,
    ) -> list[Hit]:
        """The items nearest to one query.

        Args:
            text: a text query.
            image: a picture query: path, PIL image or array.
            item: the id of an item of this gallery as the query.
            target: which side of the items is compared: their pictures ("image") or their texts ("text").
            k: how many hits.
            source: with `item`, which of its sides is the query; by default the side that `target` is not.
            rerank: of a hashing method, find so many by code (at least `k`), put them in order by the real-valued
                embeddings, and give the first `k` of these.

        Returns:
            `k` hits, best first. An item that is its own query on the same side is left out.

        Raises:
            InputError: none or several queries, an unknown item, an empty text or one without a known word, a picture
                that cannot be used, a `k` that the gallery cannot fill, or re-ranking in a gallery that keeps no
                real-valued embeddings.
        """
        query = self._query(text, image, item, target, source)
        leaves_out_itself = query.item is not None and query.source == target
        self._check_k(k, len(self) - leaves_out_itself)
        if rerank and target not in self.real_valued:
            raise InputError(
                "This gallery keeps no real-valued embeddings to re-rank by: build it with keep_real_valued=True (and "
                "a hashing method; others are ranked by theirs anyway)."
            )
        found = min(max(k, rerank) + leaves_out_itself, len(self))
        scores, rows = (each[0] for each in self.indexes[target].search(query.embeds(), found))
        if leaves_out_itself:
            others = rows != query.item
            scores, rows = scores[others][: found - 1], rows[others][: found - 1]
        if rerank:
            scores = self.real_valued[target][rows] @ query.embeds(real_valued=True)[0]
            order = np.argsort(-scores, kind="stable")
            scores, rows = scores[order], rows[order]
        return self._hits(scores[:k], rows[:k], query.item)

    def lookup(
        self,
        *,
        text: str | None = None,
        image: Any | None = None,
        item: str | None = None,
        target: Side = "image",
        source: Side | None = None,
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
        if index is not None and not hasattr(index, "lookup"):
            raise InputError(
                f"Lookup by radius is for binary codes in a Hamming index, and this gallery has the index "
                f"{self.index_name!r} of {kind_of(index.vectors)}."
            )
        query = self._query(text, image, item, target, source)
        codes = query.embeds()
        rows = index.lookup(codes, radius)[0]
        if query.source == target:
            rows = rows[rows != query.item]
        signs = unpack(codes)[0]
        return self._hits(unpack(index.vectors[rows]) @ signs / len(signs), rows, query.item)

    def _query(
        self, text: str | None, image: Any | None, item: str | None, target: Side, source: Side | None
    ) -> _Query:
        if sum(query is not None for query in (text, image, item)) != 1:
            raise InputError("Give exactly one query: text=…, image=… or item=….")
        if target not in self.indexes or source not in (None, *self.indexes):
            raise InputError(f"target and source are 'image' or 'text', not {target!r} and {source!r}.")
        if text is not None:
            return _Query(partial(self._embed_text, text))
        if image is not None:
            return _Query(partial(self.retriever.encode_images, [image]))
        position, source = self.position(item), source or ("text" if target == "image" else "image")

        def embeds(real_valued: bool = False) -> np.ndarray:
            return (self.real_valued if real_valued else self.embeds)[source][position][None]

        return _Query(embeds, position, source)

    def _embed_text(self, text: str, real_valued: bool = False) -> np.ndarray:
        if not isinstance(text, str) or not text.strip():
            raise InputError("The text query is empty: type at least one word.")
        if not self.retriever.knows([text])[0]:
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
        return [self._hit(int(row), float(score), query) for row, score in zip(rows, scores, strict=True)]

    def _hit(self, row: int, score: float, query: int | None) -> Hit:
        same_class = None
        if query is not None and self._labels is not None:
            same_class = not self._labels[query].isdisjoint(self._labels[row])
        return Hit(self.ids[row], score, tuple(self._texts[row]), self.labels(row), row, same_class, self)

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
        return tuple(self._texts[position])

    def picture(self, position: int) -> PIL.Image.Image | None:
        """Picture of the item in row `position`, or None where the data set has none."""
        return self.dataset[position]["image"] if "image" in self.dataset.column_names else None

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        """Write items (Parquet with the pictures), embeddings (safetensors) and settings, but no index: it is rebuilt.

        An earlier gallery in the folder survives a full disk or an interrupt.
        """
        with atomic_folder(save_directory) as scratch:
            embedded = self.dataset.with_format("arrow").map(
                embed_table_storage, batched=True, batch_size=256, features=self.dataset.features, keep_in_memory=True
            )
            embedded.with_format(None).to_parquet(scratch / ITEMS_NAME)
            arrays = {f"{side}_embeds": embeds for side, embeds in self.embeds.items()}
            arrays |= {f"{side}_real_valued": rows for side, rows in self.real_valued.items()}
            save_file(arrays, scratch / EMBEDDINGS_NAME)
            config = {
                "name": self.name,
                "retriever": self.retriever.name,
                "fingerprint": self.retriever.fingerprint,
                "index": self.index_name,
            }
            (scratch / CONFIG_NAME).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def from_pretrained(
        cls,
        repo_id_or_path: str | os.PathLike,
        *,
        retriever: Retriever | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> Gallery:
        """Load a saved gallery from a folder or a data set repo on the Hub.

        Args:
            repo_id_or_path: folder or repo id.
            retriever: the checkpoint that it was embedded with; by default the one that it names is loaded.
            revision: branch, tag or commit on the Hub.
            token: access token for private repos.

        Raises:
            CheckpointError: files that are missing or corrupt, or a retriever other than the one it was embedded with.
        """
        folder = resolve(repo_id_or_path, revision=revision, token=token, repo_type="dataset")
        config = read_json(folder / CONFIG_NAME)
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
            embeds = load_file(folder / EMBEDDINGS_NAME)
            dataset = Dataset.from_parquet(str(folder / ITEMS_NAME))
            return cls(
                dataset,
                retriever,
                embeds["image_embeds"],
                embeds["text_embeds"],
                index=config["index"],
                name=config["name"],
                real_valued={side: embeds[key] for side in COLUMNS if (key := f"{side}_real_valued") in embeds},
            )
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"The gallery in {folder} cannot be read: {error!r}. Build or fetch it again."
            ) from error

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
            required = ("README.md", CONFIG_NAME, ITEMS_NAME, EMBEDDINGS_NAME)
            return push_folder(scratch, repo_id, repo_type="dataset", required=required, **options)

    def _card(self) -> str:
        info = self.dataset.info
        return (
            f"---\nlicense: {json.dumps(info.license or 'unknown')}\ntags:\n- cross-modal-retrieval\n"
            f"configs:\n- config_name: default\n  data_files: {ITEMS_NAME}\n---\n\n# {self.name}\n\n"
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
