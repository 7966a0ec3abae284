from __future__ import annotations

import csv
from collections import Counter

import datasets
import pytest
from PIL import Image

from cmr_hub.data import info, is_available, load_dataset
from cmr_hub.data.rsicd import class_of
from cmr_hub.errors import DatasetError, DownloadError


@pytest.fixture
def hub(cache, monkeypatch):
    """Rows in the columns of the Hub repo, in place of a download."""

    def rows(*names: str) -> datasets.Dataset:
        columns = {
            "filename": [f"rsicd_images/{name}" for name in names],
            "captions": [["A plane .", "Two planes .", " A plane ."]] * len(names),
            "image": [Image.new("RGB", (4, 4), (number, 0, 0)) for number, _ in enumerate(names)],
        }
        features = datasets.Features(
            filename=datasets.Value("string"),
            captions=datasets.List(datasets.Value("string")),
            image=datasets.Image(),
        )
        return datasets.Dataset.from_dict(columns, features=features)

    repo = datasets.DatasetDict(
        train=rows("airport_1.jpg", "storagetanks_2.jpg", "00433.jpg"),
        test=rows("bareland_1.jpg"),
        valid=rows("00001.jpg", "viaduct_9.jpg"),
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda name: repo)
    return repo


def test_the_real_folder(real_data):
    folder = real_data / "rsicd"
    rows = load_dataset("rsicd", folder)
    assert {split: len(part) for split, part in rows.items()} == {"train": 8734, "validation": 1094, "test": 1093}
    assert rows["train"].features["label"].names == list(info("rsicd").classes)
    assert all(set(part["label"]) == set(range(31)) for part in rows.values())
    texts = [each for part in rows.values() for each in part["texts"]]
    assert all(each and len(set(each)) == len(each) for each in texts)
    assert sum(map(len, texts)) == 24_330  # 24,333 with three that are blank
    assert rows["test"][0]["image"].size == (192, 192)


def test_the_class_by_file_name_is_that_of_the_real_folder(real_data):
    with (real_data / "rsicd" / "captions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10_921
    assert [class_of(row["file_name"]) for row in rows] == [row["label"] for row in rows]


def test_rows_of_the_hub_repo(hub):
    rows = load_dataset("rsicd")
    assert list(rows) == ["train", "test", "validation"]
    assert rows["train"].column_names == ["id", "image", "texts", "label"]
    names = rows["train"].features["label"].names
    assert [names[label] for label in rows["train"]["label"]] == ["airport", "storage tanks", "airport"]
    assert [names[label] for label in rows["validation"]["label"]] == ["playfields", "viaduct"]
    second = rows["train"][1]
    assert second["id"] == "storagetanks_2.jpg"
    assert second["texts"] == ["A plane .", "Two planes ."]
    assert second["image"].getpixel((0, 0)) == (1, 0, 0)


def test_a_hub_repo_that_has_changed(hub):
    hub["train"] = hub["train"].rename_column("captions", "sentences")
    with pytest.raises(DatasetError, match="not as it was: split 'train'"):
        load_dataset("rsicd")


@pytest.mark.parametrize("name", ["unicorn_1.jpg", "00922.jpg", "airport.jpg"])
def test_a_file_name_without_a_class(name):
    with pytest.raises(DatasetError, match="begins with no known class"):
        class_of(name)


def test_a_hub_that_cannot_be_reached(cache, monkeypatch):
    def fail(name: str) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DownloadError, match=r"Couldn't reach the Hub.*captions.csv.*images/"):
        load_dataset("rsicd")


def test_a_folder_put_into_the_cache_by_hand(cache):
    (cache / "rsicd" / "images").mkdir(parents=True)
    (cache / "rsicd" / "images" / "beach_1.jpg").touch()
    (cache / "rsicd" / "captions.csv").write_text("file_name,split,label,caption_0\nbeach_1.jpg,val,beach,Sand.\n")
    assert is_available("rsicd")
    rows = load_dataset("rsicd")
    assert Counter({split: len(part) for split, part in rows.items()}) == {"validation": 1}


def test_a_class_that_is_not_one_of_the_31(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.jpg").touch()
    (tmp_path / "captions.csv").write_text("file_name,split,label,caption_0\nx.jpg,val,unicorn,Sand.\n")
    with pytest.raises(DatasetError, match="unicorn is not a class of RSICD"):
        load_dataset("rsicd", tmp_path)
