"""Which galleries there are, which models search them, and what has still to be made. No user interface in here."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from cmr_hub.data import info, is_available, list_datasets, load_dataset
from cmr_hub.data.base import DatasetInfo
from cmr_hub.errors import DatasetError, InputError, UnknownNameError
from cmr_hub.hub import checkpoint_info, list_checkpoints, read_inputs
from cmr_hub.methods import METHODS
from cmr_hub.retrieval.gallery import CONFIG_NAME, Gallery
from cmr_hub.retrieval.prepared import prepared_galleries
from cmr_hub.retrieval.retriever import Retriever
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.hub import resolve

MAX_PAIRS = 20_000  # of a gallery to prepare by a click: the largest take hours, and tens of gigabytes


@dataclass(frozen=True)
class Source:
    """One model that searches a gallery.

    Attributes:
        method: the method's name in the registry.
        checkpoint: repo id or folder of the retriever.
        folder: the saved gallery; None where it is embedded when it is first opened.
        takes_texts: whether a query may be typed; else the checkpoint eats released features.
        takes_images: whether a query may be an image.
    """

    method: str
    checkpoint: str
    folder: Path | None
    takes_texts: bool
    takes_images: bool

    @property
    def title(self) -> str:
        """What people call the model."""
        return METHODS[self.method].title


@dataclass(frozen=True)
class Entry:
    """A data set as the Space offers it.

    Attributes:
        info: what the data set is.
        sources: method -> model, the one to start with first; empty where the gallery has to be prepared.
        is_own: whether it is a gallery of somebody's own and no data set of the hub.
        is_private: whether it is a visitor's, in no list and removed after the visit.
    """

    info: DatasetInfo
    sources: Mapping[str, Source]
    is_own: bool = False
    is_private: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether it can be searched now."""
        return bool(self.sources)

    @property
    def can_prepare(self) -> bool:
        """Whether preparing it would bring something: a gallery at all, or one that takes a query of one's own."""
        complete = any(source.takes_texts and source.takes_images for source in self.sources.values())
        return not (self.is_own or complete)

    @property
    def title(self) -> str:
        """The title without its subtitle."""
        return self.info.title if self.is_own else self.info.title.split(":")[0]


class Catalogue:
    """The galleries by name. Each is built or read when it is first opened, and kept.

    Args:
        names: data sets; by default all that have a source of their own and are small enough to be prepared by a
            click, and those that have been prepared by the command.
        folders: saved galleries to serve next to them, in the list's first places; each is named after its folder.
        photos: saved galleries whose images are files of a folder -> that folder; served before all others.
        checkpoints: folders or repo ids of further checkpoints. They search the data sets that they were trained on,
            and embed visitors' galleries; a bundled one of the same method and data set gives way.

    Raises:
        CheckpointError: there is no gallery in a folder, or no checkpoint, or it is damaged.
        InputError: two galleries would have one name.

    Example:
    ```python
    >>> from cmr_hub.space.services.catalogue import Catalogue
    >>> catalogue = Catalogue()
    >>> catalogue.default
    'emoji'
    >>> catalogue.open("emoji").search(text="flag of japan", k=1)[0].labels
    ('Flags',)
    ```
    """

    def __init__(
        self,
        names: Iterable[str] | None = None,
        folders: Iterable[Path] = (),
        checkpoints: Iterable[str] = (),
        photos: Mapping[Path, Path] | None = None,
    ):
        self._datasets = [name for name in list_datasets() if _is_offered(name)] if names is None else list(names)
        self._kept: dict[Hashable, Gallery | Dataset] = {}
        self._locks: defaultdict[Hashable, threading.Lock] = defaultdict(threading.Lock)
        self._own: dict[str, Entry] = {}
        self._served: dict[str, Entry] = {}
        for folder, image_root in (photos or {}).items():
            self._serve(folder, image_root)
        for folder in folders:
            self._serve(folder)
        self.names = [*self._served, *self._datasets]
        self.checkpoints = [checkpoint_info(location) for location in checkpoints]
        self.refresh()

    def _serve(self, folder: Path, image_root: Path | None = None) -> None:
        gallery = Gallery.from_pretrained(folder, image_root=image_root)
        name = folder.resolve().name
        if name in [*self._served, *self._datasets]:
            raise InputError(f"{folder}: there is a gallery {name!r} already; rename the folder.")
        source = _source_of(gallery, folder)
        self._served[name] = Entry(_own_facts(name, gallery.name), {source.method: source}, is_own=True)
        self._kept[name, source] = gallery

    def refresh(self) -> None:
        """Look again at what this machine has."""
        checkpoints = [*list_checkpoints(), *self.checkpoints]
        self._entries = dict(self._served)
        for name in self._datasets:
            bundled = (
                [
                    Source(known.method, known.repo_id, None, known.accepts_raw_texts, known.accepts_raw_images)
                    for known in checkpoints
                    # Images whose features are not at hand would keep the first visitor waiting for minutes.
                    if known.dataset == name and (info(name).embedded or not known.accepts_raw_images)
                ]
                if is_available(name)
                else []
            )
            prepared = [_prepared_source(method, folder) for method, folder in prepared_galleries(name).items()]
            # A gallery prepared here takes the place of a bundled checkpoint of the same method.
            sources = {source.method: source for source in bundled + prepared}
            self._entries[name] = Entry(info(name), {method: sources[method] for method in sorted(sources, key=_rank)})

    def __getitem__(self, name: str) -> Entry:
        """The entry of a gallery.

        Raises:
            UnknownNameError: there is no gallery of this name.
        """
        if name in self._own:
            return self._own[name]
        if name not in self._entries:
            raise UnknownNameError("gallery", name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is a gallery of this name; a visitor's own may be gone by now."""
        return name in self._own or name in self._entries

    def add_own(self, name: str, title: str, galleries: Mapping[str, Gallery]) -> None:
        """Serve a visitor's own gallery to whoever knows its name; it is in no list.

        Args:
            name: not to be guessed.
            title: what the visitor calls it.
            galleries: the method that embedded it -> the gallery.
        """
        sources = {
            method: Source(method, gallery.retriever.name or "", None, takes_texts=True, takes_images=True)
            for method, gallery in galleries.items()
        }
        self._own[name] = Entry(_own_facts(name, title), sources, is_own=True, is_private=True)
        self._kept |= {(name, source): galleries[method] for method, source in sources.items()}

    def remove_own(self, name: str) -> None:
        """Serve a visitor's own gallery no longer. Removing twice does no harm."""
        entry = self._own.pop(name, None)
        for source in entry.sources.values() if entry else ():
            self._kept.pop((name, source), None)
            self._locks.pop((name, source), None)

    @property
    def default(self) -> str:
        """The first gallery that can be searched now; the first of all where none can."""
        return next((name for name in self.names if self[name].is_ready), self.names[0])

    def source(self, name: str = "", method: str = "") -> Source:
        """The model that searches a gallery.

        Args:
            name: the gallery; by default the default one.
            method: the model; by default the first.

        Raises:
            UnknownNameError: there is no gallery, or it has no model, of this name.
            DatasetError: the gallery has to be prepared first.
        """
        entry = self[name or self.default]
        if not entry.is_ready:
            raise DatasetError(
                f"The gallery {entry.info.name!r} is not on this machine yet. Choose it in the Space and press "
                f"'Prepare', or run `cmr prepare {entry.info.name}`."
            )
        if method and method not in entry.sources:
            raise UnknownNameError(f"model of the gallery {entry.info.name!r}", method, entry.sources)
        return entry.sources[method or next(iter(entry.sources))]

    def open(self, name: str = "", method: str = "") -> Gallery:
        """A gallery, ready to be searched.

        Args:
            name: the gallery; by default the default one.
            method: the model; by default the first.

        Raises:
            UnknownNameError: there is no gallery, or it has no model, of this name.
            DatasetError: the gallery has to be prepared first.
            CheckpointError: a saved gallery or checkpoint is damaged.
        """
        source = self.source(name, method)
        name = name or self.default
        return self._keep((name, source), partial(self._build, name, source))

    def _build(self, name: str, source: Source) -> Gallery:
        if name not in self._entries:  # a visitor's own, removed in this very moment
            raise UnknownNameError("gallery", name, self._entries)
        if source.folder is not None:
            return Gallery.from_pretrained(source.folder)
        items = self._keep(name, partial(_all_items, name))
        return Gallery.from_dataset(
            items, Retriever.from_pretrained(source.checkpoint), name=self[name].info.title, cache=True
        )

    def _keep(self, key: Hashable, make: Callable[[], Any]) -> Any:
        # One lock a thing: who waits for a gallery to be embedded does not hold up those who search another.
        with self._locks[key]:
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]


def _is_offered(name: str) -> bool:
    facts = info(name)
    by_a_click = bool(facts.source) and not facts.by_hand and sum(facts.sizes.values()) <= MAX_PAIRS
    return by_a_click or bool(prepared_galleries(name))


def _own_facts(name: str, title: str) -> DatasetInfo:
    return DatasetInfo(name, title, license="yours", homepage="", source="", how_to_get="")


def _source_of(gallery: Gallery, folder: Path) -> Source:
    """The model of a saved gallery that is open."""
    retriever = gallery.retriever
    encoders = retriever.processor
    return Source(
        retriever.model.config.model_type,
        retriever.name or "",
        folder,
        takes_texts=encoders.text_encoder.accepts_raw_input,
        takes_images=encoders.image_encoder.accepts_raw_input,
    )


def _prepared_source(method: str, folder: Path) -> Source:
    checkpoint = read_json(folder / CONFIG_NAME)["retriever"]
    image_input, text_input = read_inputs(resolve(checkpoint))
    return Source(method, checkpoint, folder, takes_texts=text_input is not None, takes_images=image_input is not None)


def _all_items(name: str) -> Dataset:
    return concatenate_datasets(list(load_dataset(name).values()))


def _rank(method: str) -> int:
    """The registry's order: the method to start with first, baselines last."""
    return list(METHODS).index(method)
