from __future__ import annotations

import json
from pathlib import Path

import pytest

from archives import jpeg, lay_out, zip_of
from cmr_hub.data import is_available, load_dataset
from cmr_hub.errors import DatasetError, DownloadError

SPLITS = {"1.jpg": "train", "2.jpg": "train", "3.jpg": "val", "4.jpg": "test"}
CAPTIONS = [f"A dog | runs {number} ." for number in range(5)]
PHOTOS = {f"flickr30k-images/{name}": jpeg(number) for number, name in enumerate([*SPLITS, "unlisted.jpg"])}


def listing(**changes: object) -> str:
    images = [
        {"sentids": [0], "imgid": 0, "filename": name, "split": split, "sentences": [{"raw": raw} for raw in CAPTIONS]}
        for name, split in SPLITS.items()
    ]
    images[1] |= changes
    return json.dumps({"images": images, "dataset": "flickr30k"})


@pytest.fixture
def folder(tmp_path) -> Path:
    return lay_out(tmp_path / "flickr30k", PHOTOS | {"dataset_flickr30k.json": listing()})


def names(rows) -> set[str]:
    return {name for part in rows.values() for name in part["id"]}


def test_the_split_of_karpathy(folder, caplog):
    assert is_available("flickr30k", folder)
    rows = load_dataset("flickr30k", folder)
    assert {split: part["id"][:] for split, part in rows.items()} == {
        "train": ["1.jpg", "2.jpg"],
        "validation": ["3.jpg"],
        "test": ["4.jpg"],
    }
    assert rows["test"].column_names == ["id", "image", "texts"]
    assert rows["test"][0]["texts"] == CAPTIONS
    assert rows["test"][0]["image"].size == (8, 8)
    assert "4 pairs (train 2, validation 1, test 1); the complete data set has 31,014" in caplog.text
    assert "by a hash" not in caplog.text


def test_of_more_captions_the_first_five_count(folder):
    more = [{"raw": raw} for raw in [*CAPTIONS[:4], " ", "The sixth."]]
    lay_out(folder, {"dataset_flickr30k.json": listing(sentences=more)})
    assert load_dataset("flickr30k", folder)["train"][1]["texts"] == CAPTIONS[:4]


@pytest.mark.parametrize(
    ("name", "row"),
    [("results_20130124.token", "{name}#{number}\t{caption}"), ("results.csv", "{name}| {number}| {caption}")],
)
def test_captions_without_a_split(folder, caplog, name, row):
    (folder / "dataset_flickr30k.json").unlink()
    lines = [
        row.format(name=photo, number=number, caption=caption)
        for photo in [*SPLITS, "unlisted.jpg"]
        for number, caption in enumerate(CAPTIONS)
    ]
    header = ["image_name| comment_number| comment"] if name.endswith("csv") else []
    lay_out(folder, {name: "\r\n".join(header + lines) + "\r\n"})
    rows = load_dataset("flickr30k", folder)
    assert names(rows) == {*SPLITS, "unlisted.jpg"}
    assert all(texts == CAPTIONS for part in rows.values() for texts in part["texts"])
    assert "split 70/10/20 by a hash" in caplog.text


def test_the_row_of_kaggles_table_that_lacks_a_bar(folder):
    (folder / "dataset_flickr30k.json").unlink()
    lay_out(folder, {"results.csv": "image_name| comment_number| comment\n1.jpg| 4   A dog runs across the grass .\n"})
    ((rows),) = load_dataset("flickr30k", folder).values()
    assert rows["texts"][:] == [["A dog runs across the grass ."]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (listing(split="tst"), r"Invalid enum value 'tst' - at `\$.images\[1\].split`"),
        (listing(filename=7), "Expected `str`, got `int`"),
        (listing(filename="../4.jpg"), "'../4.jpg' is refused"),
        (listing(filename="0.jpg"), "name a file that does not exist: 0.jpg"),
        (listing(sentences=[]), r"1 of 4 images have no text: 2.jpg \(image 2\)"),
        (listing(filename="1.jpg", split="test"), "1.jpg has split 'test' here but 'train'"),
        ('{"images": []}', "lists no images"),
        ("[" * 100_000, "not laid out as it should be"),
        (listing()[:-10], "truncated"),
        (listing().encode().replace(b"2.jpg", b"\xff.jpg"), "not laid out as it should be"),
        ("", "has 0 bytes"),
    ],
)
def test_unusable_listings(folder, content, message):
    lay_out(folder, {"dataset_flickr30k.json": content})
    with pytest.raises(DatasetError, match=message):
        load_dataset("flickr30k", folder)


def test_a_line_that_is_no_caption(folder):
    (folder / "dataset_flickr30k.json").unlink()
    lay_out(folder, {"results.csv": "image_name| comment_number| comment\n1.jpg, 0, A dog .\n"})
    with pytest.raises(DatasetError, match=r"results.csv, line 2: '1.jpg, 0, A dog .' is not 'image\| number"):
        load_dataset("flickr30k", folder)


def test_downloads_photos_and_split(server, cache, monkeypatch):
    listings = {f"dataset_{name}.json": listing() for name in ("coco", "flickr8k", "flickr30k")}
    server.files["/flickr30k-images.zip"] = zip_of(PHOTOS)
    monkeypatch.setenv("CMR_HUB_MIRROR_FLICKR30K", server.url)
    with pytest.raises(DownloadError, match=r"caption_datasets.zip answered 404.*Unpack flickr30k-images"):
        load_dataset("flickr30k")
    server.files["/caption_datasets.zip"] = zip_of(listings)
    rows = load_dataset("flickr30k")
    assert {split: len(part) for split, part in rows.items()} == {"train": 2, "validation": 1, "test": 1}
    assert {path.name for path in (cache / "flickr30k").glob("*.json")} == {"dataset_flickr30k.json"}
    assert is_available("flickr30k")
