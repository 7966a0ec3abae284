from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from archives import jpeg, lay_out, zip_of
from cmr_hub.data import is_available, load_dataset
from cmr_hub.data.base import split_by_hash
from cmr_hub.data.flickr8k import STRAY, read_official
from cmr_hub.errors import DatasetError, DownloadError

SPLITS = {"train": 6, "dev": 2, "test": 3}
NAMES = {split: [f"{split}{number}_ab.jpg" for number in range(n)] for split, n in SPLITS.items()}
LISTED = [name for names in NAMES.values() for name in names]


def captions_of(name: str) -> list[str]:
    return [f"Caption {number} of {name}, a dog ." for number in range(5)]


PHOTOS = {f"Flicker8k_Dataset/{name}": jpeg(number) for number, name in enumerate([*LISTED, "unlisted.jpg"])}
TOKENS = "".join(
    f"{name}#{number}\t{caption}\n"
    for name in [STRAY, *LISTED, "unlisted.jpg"]
    for number, caption in enumerate(captions_of(name))
)
LISTS = {f"Flickr_8k.{split}Images.txt": "\n".join(names) + "\n" for split, names in NAMES.items()}
TEXTS = {"Flickr8k.token.txt": TOKENS, "readme.txt": "Read me.", **LISTS}
TABLE = "image,caption\n" + "".join(f'{name},"{caption}"\n' for name in LISTED for caption in captions_of(name))
KAGGLE = {f"Images/{name}": jpeg(number) for number, name in enumerate(LISTED)} | {"captions.txt": TABLE}


@pytest.fixture
def official(tmp_path) -> Path:
    return lay_out(tmp_path / "official", PHOTOS | TEXTS | {"__MACOSX/Flicker8k_Dataset/._train0_ab.jpg": "junk"})


@pytest.fixture
def kaggle(tmp_path) -> Path:
    return lay_out(tmp_path / "kaggle", KAGGLE)


def test_the_real_folder(real_data, caplog):
    folder = real_data / "flickr8k"
    rows = load_dataset("flickr8k", folder)
    assert {split: len(part) for split, part in rows.items()} == {"train": 6000, "validation": 1000, "test": 1000}
    assert not caplog.records
    assert rows["train"].column_names == ["id", "image", "texts"]
    for split, part in (("train", "train"), ("validation", "dev"), ("test", "test")):
        listed = (folder / "Flickr8k_text" / f"Flickr_8k.{part}Images.txt").read_text().split()
        assert set(rows[split]["id"]) == set(listed)
    counts = Counter(len(texts) for part in rows.values() for texts in part["texts"])
    assert counts == {5: 7990, 4: 10}  # ten photos have one caption twice
    first = rows["train"][0]
    assert first["id"] == "1000268201_693b08cb0e.jpg"
    assert first["texts"][1] == "A girl going into a wooden building ."
    assert (first["image"].mode, first["image"].size) == ("RGB", (224, 224))


def test_the_captions_of_the_real_photo_that_is_not_there(real_data):
    """Without the lists every captioned photo is read, and the stray name must not count as a missing file."""
    folder = real_data / "flickr8k"
    table = folder / "Flickr8k_text" / "Flickr8k.token.txt"
    assert f"{STRAY}#0" in table.read_text()
    names = {row["image"] for _, row in read_official(table)}
    assert len(names) == 8091
    assert names == {path.name for path in (folder / "Flicker8k_Dataset").iterdir()}


def test_the_official_lists(official, caplog):
    assert is_available("flickr8k", official)
    rows = load_dataset("flickr8k", official)
    assert {split: part["id"][:] for split, part in rows.items()} == {
        "train": NAMES["train"],
        "validation": NAMES["dev"],
        "test": NAMES["test"],
    }
    assert rows["test"][1]["texts"] == captions_of("test1_ab.jpg")
    assert rows["test"][1]["image"].size == (8, 8)
    assert "11 pairs (train 6, validation 2, test 3); the complete data set has 8,000" in caplog.text
    assert "by a hash" not in caplog.text


def test_without_the_lists_the_split_is_by_hash(official, caplog):
    for name in LISTS:
        (official / name).unlink()
    rows = load_dataset("flickr8k", official)
    assert sorted(name for part in rows.values() for name in part["id"]) == sorted([*LISTED, "unlisted.jpg"])
    assert all(split_by_hash(name) == split for split, part in rows.items() for name in part["id"])
    assert "split 70/10/20 by a hash" in caplog.text


def test_the_layout_of_kaggle(kaggle, caplog):
    rows = load_dataset("flickr8k", kaggle.parent)  # one level below the folder that is given
    assert sorted(name for part in rows.values() for name in part["id"]) == sorted(LISTED)
    assert "split 70/10/20 by a hash" in caplog.text
    lay_out(kaggle, LISTS)
    assert load_dataset("flickr8k", kaggle)["test"]["id"][:] == NAMES["test"]


def test_karpathys_file_gives_captions_and_split(kaggle):
    images = [
        {"filename": name, "imgid": 1, "split": "val", "sentences": [{"raw": "A cat .", "tokens": ["a", "cat"]}]}
        for name in NAMES["dev"]
    ]
    lay_out(kaggle, {"dataset_flickr8k.json": json.dumps({"images": images, "dataset": "flickr8k"})})
    rows = load_dataset("flickr8k", kaggle)
    assert list(rows) == ["validation"]
    assert rows["validation"].to_dict() == {
        "id": NAMES["dev"],
        "image": [{"bytes": None, "path": str(kaggle / "Images" / name)} for name in NAMES["dev"]],
        "texts": [["A cat ."]] * 2,
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"Flickr_8k.testImages.txt": "\n".join(NAMES["test"] + NAMES["dev"])},
            "dev0_ab.jpg is in the list of the val",
        ),
        (
            {"Flickr8k.token.txt": "train0_ab.jpg#0 no tab\n"},
            "line 1: 'train0_ab.jpg#0 no tab' is not 'image#number'",
        ),
        ({"Flickr8k.token.txt": b"train0_ab.jpg#0\tCaf\xe9\n"}, "not UTF-8"),
        ({"Flickr8k.token.txt": "elsewhere.jpg#0\tA dog .\n"}, "there is no row in it"),
        ({"Flickr8k.token.txt": "train0_ab.jpg#0\t \n"}, "1 of 1 images have no text"),
        (
            {"Flickr8k.token.txt": TOKENS + "../x.jpg#0\tA dog .\n", "Flickr_8k.testImages.txt": "../x.jpg"},
            "'../x.jpg' is refused",
        ),
    ],
)
def test_unusable_files(official, files, message):
    lay_out(official, files)
    with pytest.raises(DatasetError, match=message):
        load_dataset("flickr8k", official)


def test_missing_files(official):
    (official / "Flicker8k_Dataset" / "dev0_ab.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1 of 11 images name a file that does not exist: dev0_ab.jpg"):
        load_dataset("flickr8k", official)
    (official / "Flickr_8k.devImages.txt").unlink()
    with pytest.raises(DatasetError, match=r"lacks Flickr_8k.devImages.txt; put it beside the other lists"):
        load_dataset("flickr8k", official)
    (official / "Flickr8k.token.txt").unlink()
    assert not is_available("flickr8k", official)
    with pytest.raises(DatasetError, match=r"layout of Flickr8k: a folder Flicker8k_Dataset or Images"):
        load_dataset("flickr8k", official)


@pytest.fixture
def mirror(server, cache, monkeypatch):
    server.files |= {"/8k/Flickr8k_Dataset.zip": zip_of(PHOTOS), "/8k/Flickr8k_text.zip": zip_of(TEXTS)}
    monkeypatch.setenv("CMR_HUB_MIRROR_FLICKR8K", f"{server.url}/8k/")
    return server


def test_downloads_both_archives(mirror, cache):
    assert not is_available("flickr8k")
    told = []
    rows = load_dataset("flickr8k", progress=lambda *step: told.append(step))
    assert {split: len(part) for split, part in rows.items()} == {"train": 6, "validation": 2, "test": 3}
    assert rows["train"][0]["image"].size == (8, 8)
    assert list(dict.fromkeys(message for _, message in told)) == [
        f"{step} Flickr8k_{archive}.zip" for archive in ("text", "Dataset") for step in ("Downloading", "Extracting")
    ]
    assert not list(cache.rglob("*.zip"))
    assert is_available("flickr8k")
    load_dataset("flickr8k")
    assert len(mirror.requests) == 2


def test_an_interrupted_download_leaves_done_archives_alone(mirror):
    photos = mirror.files.pop("/8k/Flickr8k_Dataset.zip")
    with pytest.raises(DownloadError, match=r"answered 404.*Unpack Flickr8k_Dataset.zip"):
        load_dataset("flickr8k")
    assert not is_available("flickr8k")
    mirror.files["/8k/Flickr8k_Dataset.zip"] = photos
    mirror.requests.clear()
    assert len(load_dataset("flickr8k")["test"]) == 3
    assert [path for path, _ in mirror.requests] == ["/8k/Flickr8k_Dataset.zip"]


def test_an_archive_of_something_else_is_not_kept_as_the_data_set(mirror, cache):
    mirror.files["/8k/Flickr8k_text.zip"] = zip_of({"readme.txt": "nothing of use"})
    with pytest.raises(DatasetError, match=r"not have the layout of Flickr8k.* kept; delete .*flickr8k.partial to"):
        load_dataset("flickr8k")
    assert not is_available("flickr8k")
    assert not (cache / "flickr8k").exists()
