from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archives import entries_of, lay_out_mirflickr, write_lines, zip_of
from cmr_hub.data import info, is_available, load_dataset
from cmr_hub.data.base import hash_order
from cmr_hub.errors import DatasetError, DownloadError

COMMON = ("sky", "blue", "hund", "été")
CLASSES = info("mirflickr").classes


@pytest.fixture
def official(tmp_path) -> Path:
    """Both archives, unpacked: 40 images, of which 1 to 30 are tagged and 3 to 40 have concepts."""
    root = tmp_path / "unpacked"
    lay_out_mirflickr(
        root, {number: ["blue", "rare", "sky", "blue"] if number <= 30 else ["rare"] for number in range(1, 41)}
    )
    write_lines(
        root / "mirflickr" / "doc" / "common_tags.txt", [f"{tag} {20 + row}" for row, tag in enumerate(COMMON)]
    )
    write_lines(root / "sky.txt", range(3, 41))
    write_lines(root / "dog.txt", [5, 6, 5])
    write_lines(root / "dog_r1.txt", [6])
    write_lines(root / "README.txt", ["about"])
    return root


def test_pairs_with_common_tags_and_concepts(official, caplog):
    rows = load_dataset("mirflickr", official)
    assert rows["train"].column_names == ["id", "image", "texts", "text_features", "labels"]
    assert {split: len(part) for split, part in rows.items()} == {"train": 26, "test": 2}
    assert "28 pairs (train 26, test 2); the complete data set has 20,015 (train 18,015, test 2,000)" in caplog.text
    by_id = {row["id"]: row for part in rows.values() for row in part}
    assert set(by_id) == {str(number) for number in range(3, 31)}
    assert by_id["5"]["texts"] == ["blue sky"]
    assert by_id["5"]["text_features"] == [1, 1, 0, 0]
    assert [CLASSES[label] for label in by_id["5"]["labels"]] == ["dog", "sky"]
    assert by_id["5"]["image"].size == (8, 8)
    assert rows["train"].with_format("numpy")[:]["text_features"].dtype == np.float32
    assert [*rows["test"]["id"], *rows["train"]["id"]] == sorted(by_id, key=hash_order)


def test_files_that_are_not_utf8(official):
    write_lines(official / "mirflickr" / "doc" / "common_tags.txt", ["été 30"], encoding="latin-1")
    write_lines(official / "mirflickr" / "meta" / "tags" / "tags7.txt", ["été"], encoding="latin-1")
    assert load_dataset("mirflickr", official)["train"]["texts"][:] == [["été"]]


def test_annotations_in_a_folder_of_their_own(official):
    for path in official.glob("*.txt"):
        (official / "annotations").mkdir(exist_ok=True)
        path.rename(official / "annotations" / path.name)
    assert is_available("mirflickr", official)
    assert len(load_dataset("mirflickr", official)["train"]) == 26


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "sky.txt").unlink(), "does not have the layout of MIRFlickr-25K"),
        (lambda root: write_lines(root / "sky.txt", [3, "../4"]), r"sky.txt, row 2: '../4' is not a whole number"),
        (lambda root: write_lines(root / "sky.txt", [25001]), "there is no image 25001"),
        (lambda root: write_lines(root / "sky.txt", [0]), "there is no image 0"),
        (lambda root: (root / "mirflickr" / "meta" / "tags" / "tags9.txt").unlink(), "tags9.txt is missing"),
        (lambda root: (root / "mirflickr" / "im9.jpg").unlink(), "1 of the 28 listed files .*mirflickr/im9.jpg"),
        (lambda root: write_lines(root / "mirflickr" / "doc" / "common_tags.txt", ["none 20"]), "no image has both"),
        (lambda root: write_lines(root / "sky.txt", ["1" * (17 << 20)]), r"sky.txt has 17,825,793 bytes"),
    ],
)
def test_damage_is_named(official, damage, message):
    damage(official)
    with pytest.raises(DatasetError, match=message):
        load_dataset("mirflickr", official)


def test_downloads_both_archives(official, server, cache, monkeypatch):
    monkeypatch.setenv("CMR_HUB_MIRROR_MIRFLICKR", f"{server.url}/v3b")
    server.files["/v3b/mirflickr25k.zip"] = zip_of(entries_of(official, "mirflickr/**/*"))
    with pytest.raises(DownloadError, match=r"annotations_v080.zip answered 404"):
        load_dataset("mirflickr")
    assert not is_available("mirflickr")
    server.files["/v3b/mirflickr25k_annotations_v080.zip"] = zip_of(entries_of(official, "*.txt"))
    assert len(load_dataset("mirflickr")["test"]) == 2
    assert is_available("mirflickr")
    assert [path for path, _ in server.requests].count("/v3b/mirflickr25k.zip") == 1
    assert not list(cache.rglob("exif*"))
