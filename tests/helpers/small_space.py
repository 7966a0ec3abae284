"""A small gallery, a catalogue of nothing else, and one of what is bundled, for tests of the Space."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset, Image
from PIL import Image as Images

from cmr_hub.data import info
from cmr_hub.data.base import TEXTS, label_features
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.retriever import Retriever
from cmr_hub.space.services.catalogue import Catalogue, Entry, Source
from toys import raw_retriever

WORDS = ["a red apple", "a green pear", '<b>bold</b> & "quoted" dog', "an old cat"]
COLOURS = ["red", "green", "black", "grey"]

_opened: dict[Hashable, Any] = {}


def bundled_catalogue(names: Iterable[str] | None = None) -> Catalogue:
    """A catalogue whose galleries of bundled checkpoints are opened once for all tests of this process."""
    catalogue = Catalogue(names)
    catalogue._kept = _opened
    return catalogue


def make_gallery(folder: Path) -> Gallery:
    """Four pairs in two classes, searched by colour words and images; the third has HTML in its texts and its id."""
    paths = [str(folder / f"{colour}.png") for colour in COLOURS]
    for path, colour in zip(paths, COLOURS, strict=True):
        Images.new("RGB", (40, 30), colour).save(path)
    rows = {
        "id": ["apple", "pear", 'dog"><i>', "cat"],
        "image": paths,
        "texts": [[words, f"{words}, again"] for words in WORDS],
        "label": ["fruit", "fruit", "animal", "animal"],
    }
    features = label_features(["fruit", "animal"], image=Image(), texts=TEXTS)
    return Gallery.from_dataset(Dataset.from_dict(rows, features=features), raw_retriever(), name="Small", cache=False)


def save_gallery(folder: Path) -> Path:
    """The folder of a saved gallery of four pairs, "small"; its checkpoint is saved next to it."""
    gallery = make_gallery(folder)
    gallery.retriever.save_pretrained(folder / "checkpoint")
    retriever = Retriever.from_pretrained(folder / "checkpoint")
    Gallery.from_dataset(gallery.dataset, retriever, cache=False).save_pretrained(folder / "small")
    return folder / "small"


class OneGallery:
    """Stands in for a catalogue: one gallery, whatever it is called."""

    names = ("small",)
    default = "small"
    checkpoints = ()

    def __init__(self, gallery: Gallery):
        encoders = gallery.retriever.processor
        takes = (encoders.text_encoder.accepts_raw_input, encoders.image_encoder.accepts_raw_input)
        self.gallery, self.entry = gallery, Entry(info("wiki"), {"cca": Source("cca", "test/cca", None, *takes)})

    def __getitem__(self, name: str) -> Entry:
        return self.entry

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def source(self, name: str = "", method: str = "") -> Source:
        return self.entry.sources["cca"]

    def open(self, name: str = "", method: str = "") -> Gallery:
        return self.gallery
