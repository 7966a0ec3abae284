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


def in_2017(number: int) -> str:
    """The place of a photo in the release of 2017: another part than in 2014, and no prefix."""
    return f"{'val2017' if number == 4 else 'train2017'}/{number:012}.jpg"


@pytest.fixture
def folder_2017(tmp_path) -> Path:
    """The release of 2017, one level down: photos 1 to 6, of which 6 has no caption, and one that no file lists."""
    photos = {in_2017(number): jpeg(number) for number in (1, 2, 3, 4, 5, 6, 99)}
    files = {}
    for part in ("train2017", "val2017"):
        numbers = [number for number in range(1, 7) if in_2017(number).startswith(part)]
        images = [{"id": number, "file_name": in_2017(number).partition("/")[2], "coco_url": ""} for number in numbers]
        captions = [
            {"image_id": number, "id": each, "caption": f"Official {each} of {number}."}
            for number in numbers
            if number != 6
            for each in range(6)
        ]
        captions += [{"image_id": number, "id": 9, "caption": " "} for number in numbers if number == 6]
        crowd = {"iscrowd": 1, "segmentation": {"counts": [3, 5], "size": [8, 8]}, "bbox": [0, 0, 1, 1], "area": 5}
        objects = [
            {"image_id": number, "category_id": category, "id": category, **(crowd if number == 5 else {"iscrowd": 0})}
            for number in numbers
            for category in SHOWN.get(number, [])
        ]
        files[f"annotations/captions_{part}.json"] = {"images": images, "annotations": captions}
        files[f"annotations/instances_{part}.json"] = {
            "images": images,
            "annotations": objects,
            "categories": CATEGORIES,
        }
    return lay_out(tmp_path, {f"coco/{name}": photo for name, photo in photos.items()}) and lay_out(
        tmp_path, {f"coco/{name}": json.dumps(content) for name, content in files.items()}
    )


def ids_of(rows) -> dict[str, list[int]]:
    return {split: [int(name.removesuffix(".jpg")) for name in part["id"]] for split, part in rows.items()}


def test_the_release_of_2017_splits_by_its_parts(folder_2017, caplog):
    assert is_available("mscoco", folder_2017)
    rows = load_dataset("mscoco", folder_2017)
    assert ids_of(rows) == {"train": [1, 2, 3, 5], "test": [4]}
    assert rows["train"][0]["texts"] == [f"Official {each} of 1." for each in range(5)]
    assert rows["train"]["labels"][:] == [[0], [0, 79], [0], [0]]  # a crowd of persons shows a person
    assert rows["test"][0]["image"].size == (8, 8)
    assert "Without dataset_coco.json train2017 trains and val2017 tests." in caplog.text
    assert "Images without a caption are left out: 1." in caplog.text
    assert "There is no folder" not in caplog.text


def test_karpathys_split_of_the_release_of_2017(folder_2017, caplog):
    lay_out(folder_2017, {"dataset_coco.json": karpathy()})
    rows = load_dataset("mscoco", folder_2017)
    assert ids_of(rows) == {"train": [1, 2, 3], "validation": [4], "test": [5, 6]}
    assert rows["validation"][0]["texts"] == [f"Caption {each} of 4." for each in range(5)]
    assert rows["test"]["labels"][:] == [[0], []]
    for path in (folder_2017 / "coco" / "train2017").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"5 of 6 images name a file .* exist: train2017/000000000001.jpg"):
        load_dataset("mscoco", folder_2017)
    (folder_2017 / "coco" / "train2017").rmdir()
    assert ids_of(load_dataset("mscoco", folder_2017)) == {"validation": [4]}
    assert "There is no folder train2017." in caplog.text


def test_of_both_releases_the_first_is_read(folder, folder_2017):
    (folder / "train2014").rename(folder_2017 / "coco" / "train2014")
    (folder / "val2014").rename(folder_2017 / "coco" / "val2014")
    lay_out(folder_2017 / "coco", {"dataset_coco.json": karpathy()})
    assert numbers(load_dataset("mscoco", folder_2017)) == {"train": [1, 2, 3], "validation": [4], "test": [5, 6]}


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
