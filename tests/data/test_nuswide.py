from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archives import jpeg, lay_out, write_lines
from cmr_hub.data import info, is_available, load_dataset, nuswide
from cmr_hub.errors import DatasetError, DownloadError

IMAGES = 300
TAGS = ("sky", "cat", "nikon")
OTHERS = tuple(f"other{number}" for number in range(81 - len({*nuswide.TC21, *nuswide.SINGLE})))
CONCEPTS = tuple(sorted({*nuswide.TC21, *nuswide.SINGLE, *OTHERS}))


def concepts_of(row: int) -> set[str]:
    """Rows take turns: one concept of the ten, two of the frequent ones, none at all."""
    single = nuswide.SINGLE[row % 10]
    return {0: {single}, 1: {single, nuswide.TC21[row % 21]}, 2: set()}[row % 3]


@pytest.fixture
def official(tmp_path) -> Path:
    """The official files but the images, of 300 images."""
    root = tmp_path / "nuswide"
    write_lines(root / "ImageList" / "Imagelist.txt", [f"dir{row % 2}\\{row:04}_77{row}.jpg" for row in range(IMAGES)])
    for concept in CONCEPTS:
        seen = [int(concept in concepts_of(row)) for row in range(IMAGES)]
        write_lines(root / "Groundtruth" / "AllLabels" / f"Labels_{concept}.txt", seen)
    write_lines(root / "NUS_WID_Tags" / "TagList1k.txt", TAGS)
    bits = ["1\t0\t1\t" if row % 5 else "0\t0\t0\t" for row in range(IMAGES)]
    write_lines(root / "NUS_WID_Tags" / "AllTags1k.txt", bits)
    return root


def test_the_counts_of_the_parts():
    assert {name: sum(info(name).sizes.values()) for name in ("nuswide-tc21", "nuswide-tc10", "nuswide-10k")} == {
        "nuswide-tc21": 195_834,
        "nuswide-tc10": 186_577,
        "nuswide-10k": 10_000,
    }
    assert len(CONCEPTS) == 81
    assert set(nuswide.TC10) < set(nuswide.TC21)


@pytest.mark.parametrize(("name", "classes"), [("nuswide-tc21", nuswide.TC21), ("nuswide-tc10", nuswide.TC10)])
def test_pairs_with_a_frequent_concept(official, caplog, name, classes):
    rows = load_dataset(name, official)
    assert rows["train"].column_names == ["id", "texts", "text_features", "labels"]
    expected = {f"dir{row % 2}/{row:04}_77{row}": row for row in range(IMAGES) if concepts_of(row) & set(classes)}
    by_id = {row["id"]: row for part in rows.values() for row in part}
    assert set(by_id) == set(expected)
    assert "the complete data set has" in caplog.text
    assert len(rows["test"]) == len(by_id) * info(name).sizes["test"] // sum(info(name).sizes.values()) >= 1
    for item_id, number in expected.items():
        assert {classes[label] for label in by_id[item_id]["labels"]} == concepts_of(number) & set(classes)
        assert by_id[item_id]["texts"] == (["sky nikon"] if number % 5 else [""])
        assert by_id[item_id]["text_features"] == ([1, 0, 1] if number % 5 else [0, 0, 0])


def test_ten_thousand_pairs_of_one_concept(official, monkeypatch):
    rows = load_dataset("nuswide-10k", official)
    names = rows["train"].features["label"].names
    by_id = {row["id"]: names[row["label"]] for part in rows.values() for row in part}
    numbers = {item_id: int(item_id[5:9]) for item_id in by_id}
    assert all(concepts_of(numbers[item_id]) == {concept} for item_id, concept in by_id.items())
    single = [row for row in range(IMAGES) if len(concepts_of(row)) == 1 and row % 5]
    assert sorted(numbers.values()) == single
    monkeypatch.setattr(nuswide, "OF_EACH", 10)
    rows = load_dataset("nuswide-10k", official)
    counts = {split: np.bincount(part["label"], minlength=10) for split, part in rows.items()}
    drawn = np.minimum(np.bincount([names.index(concept) for concept in by_id.values()], minlength=10), 10)
    assert (sum(counts.values()) == drawn).all()
    assert set(counts["test"]) | set(counts["validation"]) <= {0, 1}


def test_images_and_sift_words_where_they_are(official, caplog):
    before = load_dataset("nuswide-tc10", official)
    write_lines(official / nuswide.SIFT, [" ".join(str(row) for _ in range(500)) + " " for row in range(IMAGES)])
    ids = [item_id for part in before.values() for item_id in part["id"]]
    for item_id in ids[3:]:
        lay_out(official, {f"Flickr/{item_id}.jpg": jpeg()})
    rows = load_dataset("nuswide-tc10", official)
    assert rows["train"].column_names == ["id", "image", "texts", "image_features", "text_features", "labels"]
    assert "3 pairs have no image in Flickr/ and are left out." in caplog.text
    for split, part in rows.items():
        assert part["id"][:] == [item_id for item_id in before[split]["id"] if item_id in ids[3:]]
    first = rows["test"][0] if "test" in rows else rows["train"][0]
    assert first["image"].size == (8, 8)
    assert first["image_features"] == [int(first["id"][5:9])] * 500


@pytest.mark.parametrize("name", ["nuswide-tc21", "nuswide-10k"])
def test_files_with_the_line_ends_of_windows(official, name):
    write_lines(official / nuswide.SIFT, ["0 7 " + "0 " * 498] * IMAGES)
    for row in range(IMAGES):
        lay_out(official, {f"Flickr/dir{row % 2}/{row:04}_77{row}.jpg": jpeg()})
    before = load_dataset(name, official)
    for path in [*official.rglob("*.txt"), official / nuswide.SIFT]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    listing = official / nuswide.IMAGE_LIST
    listing.write_bytes(b"\xef\xbb\xbf" + listing.read_bytes() + b"\r\n")  # and a mark in front, a blank line behind
    after = load_dataset(name, official)
    assert {split: part.remove_columns("image")[:] for split, part in after.items()} == {
        split: part.remove_columns("image")[:] for split, part in before.items()
    }
    assert after["train"][0]["image"].size == (8, 8)


def replace_row(path: Path, row: int, *lines: str) -> None:
    rows = path.read_text().split("\n")
    path.write_text("\n".join([*rows[:row], *lines, *rows[row + 1 :]]))


@pytest.mark.parametrize(
    ("path", "lines", "message"),
    [
        ("ImageList/Imagelist.txt", ["..\\evil.jpg"], r"row 5: the path '../evil' is refused, it contains '..'"),
        ("ImageList/Imagelist.txt", ["dir0\\0000_770.jpg"], "lists an image twice"),
        ("ImageList/Imagelist.txt", [], "Labels_animal.txt is not a 0 or 1 for each of the 299 images"),
        ("Groundtruth/AllLabels/Labels_sky.txt", ["2"], "Labels_sky.txt is not a 0 or 1 for each of the 300"),
        ("Groundtruth/AllLabels/Labels_sky.txt", ["1", "1"], "Labels_sky.txt is not a 0 or 1 for each of the 300"),
        ("Groundtruth/AllLabels/Labels_sky.txt", ["1" * 20_000], "Labels_sky.txt is too large for 300 rows"),
        ("NUS_WID_Tags/AllTags1k.txt", ["1\t2\t0"], "AllTags1k.txt, row 5: a value is neither 0 nor 1"),
        ("NUS_WID_Tags/AllTags1k.txt", ["1"], "AllTags1k.txt, row 5: it has 1 values, not 3"),
        ("NUS_WID_Tags/AllTags1k.txt", ["1" * 20_000], r"AllTags1k.txt, row 5: it has 16384 values"),
        ("NUS_WID_Tags/AllTags1k.txt", [], "AllTags1k.txt has 299 rows, but .* lists 300 images"),
        ("NUS_WID_Tags/AllTags1k.txt", ["1\t1\t1", "1\t1\t1"], "AllTags1k.txt has more rows than the 300 images"),
        (nuswide.SIFT, ["-1 " + "0 " * 499], "BoW_int.dat, row 5: a value is no whole number"),
    ],
)
def test_damage_is_named(official, path, lines, message):
    write_lines(official / nuswide.SIFT, ["0 " * 500] * IMAGES)
    replace_row(official / path, 4, *lines)
    with pytest.raises(DatasetError, match=message):
        load_dataset("nuswide-tc21", official)


def test_files_that_are_missing(official):
    (official / "Groundtruth" / "AllLabels" / "Labels_other1.txt").unlink()
    assert load_dataset("nuswide-tc10", official)
    with pytest.raises(DatasetError, match=r"has 80 files Labels_<concept>.txt, not 81"):
        load_dataset("nuswide-10k", official)
    (official / "Groundtruth" / "AllLabels" / "Labels_sky.txt").unlink()
    with pytest.raises(DatasetError, match=r"Labels_sky.txt is missing"):
        load_dataset("nuswide-tc10", official)
    (official / "NUS_WID_Tags" / "AllTags1k.txt").rename(official / "NUS_WID_Tags" / "AllTags1k.dat")
    assert is_available("nuswide-tc10", official)
    (official / "NUS_WID_Tags" / "AllTags1k.dat").unlink()
    assert not is_available("nuswide-tc10", official)


def test_it_has_to_be_fetched_by_hand(official, cache):
    with pytest.raises(DownloadError, match=r"fetched by hand.*Fetch Groundtruth.*put the folder at .*nuswide-tc10"):
        load_dataset("nuswide-tc10")
    cache.mkdir(parents=True)
    official.rename(cache / "nuswide-tc10")
    assert is_available("nuswide-tc10")
    assert load_dataset("nuswide-tc10")["train"]
