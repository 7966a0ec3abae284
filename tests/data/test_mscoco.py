from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from archives import jpeg, lay_out, zip_of
from cmr_hub.data import info, is_available, load_dataset
from cmr_hub.data.labels import label_matrix
from cmr_hub.errors import DatasetError

SPLITS = {
    "train2014/COCO_train2014_000000000001.jpg": "train",
    "train2014/COCO_train2014_000000000002.jpg": "train",
    "val2014/COCO_val2014_000000000003.jpg": "restval",
    "val2014/COCO_val2014_000000000004.jpg": "val",
    "val2014/COCO_val2014_000000000005.jpg": "test",
    "val2014/COCO_val2014_000000000006.jpg": "test",
}
PHOTOS = {name: jpeg(number) for number, name in enumerate(SPLITS)}
CATEGORIES = [{"id": 1, "name": "person", "supercategory": "person"}, {"id": 90, "name": "toothbrush"}]
SHOWN = {1: [1], 2: [90, 1, 90], 3: [1], 4: [90], 5: [1, 1]}  # and in 6 no object is marked


def number_of(name: str) -> int:
    return int(name[-6:-4])


def karpathy() -> str:
    images = [
        {
            "filepath": name.partition("/")[0],
            "filename": name.partition("/")[2],
            "cocoid": number_of(name),
            "split": split,
            "sentences": [{"raw": f"Caption {each} of {number_of(name)}.", "sentid": each} for each in range(6)],
        }
        for name, split in SPLITS.items()
    ]
    return json.dumps({"images": images, "dataset": "coco"})


def annotations(part: str) -> dict[str, dict[str, Any]]:
    """The two annotation files of a part, with fields that nobody reads."""
    numbers = {number_of(name): name.partition("/")[2] for name in SPLITS if name.startswith(part)}
    images = [{"id": number, "file_name": name, "height": 8, "license": 3} for number, name in numbers.items()]
    captions = [
        {"image_id": number, "id": each, "caption": f"Official {each} of {number}."}
        for each in range(6)
        for number in numbers
    ]
    objects = [
        {
            "segmentation": [[1.5, 2.25]],
            "area": 3.0,
            "iscrowd": 0,
            "image_id": number,
            "category_id": category,
            "id": 1,
        }
        for number in numbers
        for category in SHOWN.get(number, [])
    ]
    return {
        f"annotations/captions_{part}.json": {"info": {}, "images": images, "annotations": captions},
        f"annotations/instances_{part}.json": {"images": images, "annotations": objects, "categories": CATEGORIES},
    }


ANNOTATIONS = {
    name: json.dumps(content) for part in ("train2014", "val2014") for name, content in annotations(part).items()
}


@pytest.fixture
def folder(tmp_path) -> Path:
    return lay_out(tmp_path / "coco", PHOTOS | ANNOTATIONS | {"dataset_coco.json": karpathy()})


def numbers(rows) -> dict[str, list[int]]:
    return {split: [number_of(name) for name in part["id"]] for split, part in rows.items()}


def test_the_split_of_karpathy_with_categories(folder, caplog):
    assert is_available("mscoco", folder)
    rows = load_dataset("mscoco", folder)
    assert numbers(rows) == {"train": [1, 2, 3], "validation": [4], "test": [5, 6]}
    assert rows["test"].column_names == ["id", "image", "texts", "labels"]
    first = rows["train"][1]
    assert first["id"] == "COCO_train2014_000000000002.jpg"
    assert first["texts"] == [f"Caption {each} of 2." for each in range(5)]  # of six
    assert first["image"].size == (8, 8)
    names = rows["train"].features["labels"].feature.names
    assert names == list(info("mscoco").classes)
    assert [names[label] for label in first["labels"]] == ["person", "toothbrush"]
    assert rows["test"]["labels"][:] == [[0], []]
    assert label_matrix(rows["test"]).sum(axis=1).tolist() == [1, 0]
    assert "6 pairs (train 3, validation 1, test 2); the complete data set has 123,287" in caplog.text


def test_images_without_an_object_are_left_out_when_asked_for(folder, caplog):
    rows = load_dataset("mscoco", folder, labelled_only=True)
    assert numbers(rows) == {"train": [1, 2, 3], "validation": [4], "test": [5]}
    assert "Images without an object are left out: 1." in caplog.text


def test_without_karpathys_file_the_official_parts_split(folder, caplog):
    (folder / "dataset_coco.json").unlink()
    rows = load_dataset("mscoco", folder)
    assert numbers(rows) == {"train": [1, 2], "test": [3, 4, 5, 6]}
    assert rows["test"][0]["texts"] == [f"Official {each} of 3." for each in range(5)]
    assert rows["test"]["labels"][:] == [[0], [79], [0], []]
    assert "Without dataset_coco.json train2014 trains and val2014 tests." in caplog.text


def test_one_part_alone(folder, caplog):
    (folder / "train2014").rename(folder / "elsewhere")
    rows = load_dataset("mscoco", folder)
    assert numbers(rows) == {"train": [3], "validation": [4], "test": [5, 6]}
    assert "There is no folder train2014." in caplog.text


def test_without_objects_there_are_no_labels(folder):
    (folder / "annotations" / "instances_val2014.json").unlink()
    assert "labels" not in load_dataset("mscoco", folder)["test"].column_names
    with pytest.raises(DatasetError, match=r"lacks instances_train2014.json and instances_val2014.json"):
        load_dataset("mscoco", folder, labelled_only=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": [{"image_id": 3, "category_id": 2}]}, "object 1: there is no image 3 or no category 2"),
        ({"annotations": [{"image_id": 77, "category_id": 1}]}, "no image 77"),
        ({"annotations": [{"image_id": 3}]}, "missing required field `category_id`"),
        (
            {"categories": [{"id": 1, "name": "unicorn"}, {"id": 90, "name": "toothbrush"}]},
            "unicorn is not a class of",
        ),
    ],
)
def test_unusable_objects(folder, change, message):
    name = "annotations/instances_val2014.json"
    lay_out(folder, {name: json.dumps(annotations("val2014")[name] | change)})
    with pytest.raises(DatasetError, match=message):
        load_dataset("mscoco", folder)


def test_a_missing_image(folder):
    (folder / "val2014" / "COCO_val2014_000000000005.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1 of 6 images name a file .* exist: val2014/COCO_val2014_000000000005"):
        load_dataset("mscoco", folder)


def test_a_part_without_captions(folder):
    (folder / "dataset_coco.json").unlink()
    (folder / "annotations" / "captions_val2014.json").unlink()
    assert not is_available("mscoco", folder)
    with pytest.raises(DatasetError, match=r"captions in dataset_coco.json or in captions_<part>.json of each"):
        load_dataset("mscoco", folder)


def test_downloads_four_archives_and_keeps_what_it_reads(server, cache, monkeypatch):
    monkeypatch.setenv("CMR_HUB_MIRROR_MSCOCO", server.url)
    for part in ("train2014", "val2014"):
        server.files[f"/{part}.zip"] = zip_of({name: photo for name, photo in PHOTOS.items() if part in name})
    server.files["/annotations_trainval2014.zip"] = zip_of(ANNOTATIONS | {"annotations/person_keypoints.json": "{}"})
    server.files["/caption_datasets.zip"] = zip_of({"dataset_coco.json": karpathy(), "dataset_flickr8k.json": "{}"})
    rows = load_dataset("mscoco")
    assert numbers(rows) == {"train": [1, 2, 3], "validation": [4], "test": [5, 6]}
    assert {path.name for path in (cache / "mscoco").rglob("*.json")} == {
        "dataset_coco.json",
        "instances_train2014.json",
        "instances_val2014.json",
    }
    assert is_available("mscoco")
    assert len(server.requests) == 4
