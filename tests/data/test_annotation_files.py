"""Captions as annotation tools export them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from cmr_hub.data import load_dataset
from cmr_hub.errors import DatasetError
from cmr_hub.retrieval.gallery_sources import open_source


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Image.new("RGB", (5, 5)).save(tmp_path / "images" / name)
    return tmp_path


def load(folder: Path, content: object):
    (folder / "metadata.json").write_text(json.dumps(content), encoding="utf-8")
    return load_dataset("folder", folder, split="train")["train"]


IMAGES = [{"id": number, "file_name": name} for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg"), start=7)]


def test_captions_of_coco(folder, caplog):
    captions = [(8, "A dog."), (7, "A cat."), (8, "It sleeps.")]
    annotations = [{"id": 1, "image_id": image, "caption": caption} for image, caption in captions]
    loaded = load(folder, {"info": {}, "images": IMAGES, "annotations": annotations})
    assert loaded["id"][:] == ["images/a.jpg", "images/b.jpg"]
    assert loaded["texts"][:] == [["A cat."], ["A dog.", "It sleeps."]]
    assert "label" not in " ".join(loaded.column_names)
    assert "1 of 3 images have no annotation" in caplog.text
    assert len(open_source(folder)) == 2


def test_categories_are_classes(folder):
    categories = [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}]
    annotations = [{"image_id": 7, "caption": "A cat and a dog."}, {"image_id": 8, "caption": "A dog."}]
    annotations += [{"image_id": image, "category_id": of} for image, of in ((7, 9), (7, 3), (7, 9), (8, 9))]
    loaded = load(folder, {"images": IMAGES[:2], "annotations": annotations, "categories": categories})
    assert loaded.features["labels"].feature.names == ["cat", "dog"]
    assert [sorted(labels) for labels in loaded["labels"]] == [[0, 1], [1]]


def test_listings_of_karpathy(folder):
    images = [
        {"filename": name, "filepath": "images", "split": split, "sentences": [{"raw": f"{name}."}, {"raw": "B"}]}
        for name, split in (("a.jpg", "restval"), ("b.jpg", "val"))
    ]
    (folder / "metadata.json").write_text(json.dumps({"images": images, "dataset": "mine"}))
    loaded = load_dataset("folder", folder)
    assert loaded["train"]["texts"][:] == [["a.jpg.", "B"]]
    assert loaded["validation"]["id"][:] == ["images/b.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "KeyError 'annotations'"),
        ({"images": IMAGES, "annotations": [{"image_id": 1, "caption": "A"}]}, "KeyError 1"),
        ({"images": [3], "annotations": []}, "laid out as the captions of MS-COCO.*TypeError"),
        ({"images": IMAGES, "annotations": []}, "lists no images"),
        ({"images": {"a": 1}, "annotations": []}, "TypeError"),
        ({"images": IMAGES, "annotations": [{"image_id": 7, "caption": {"en": "A"}}]}, "image 1: .* is not a text"),
    ],
)
def test_other_layouts_are_refused(folder, content, message):
    with pytest.raises(DatasetError, match=message):
        load(folder, content)
