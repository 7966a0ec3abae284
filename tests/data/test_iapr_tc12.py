from __future__ import annotations

from pathlib import Path

import pytest

from archives import entries_of, jpeg, lay_out, tar_of, write_lines
from cmr_hub.data import is_available, load_dataset
from cmr_hub.errors import DatasetError


@pytest.fixture
def official(tmp_path) -> Path:
    """The main archive, unpacked: images 991 to 1020, in two folders."""
    root = tmp_path / "unpacked" / "iaprtc12"
    for number in range(991, 1021):
        place = f"{number // 1000:02}/{number}"
        lay_out(root, {f"images/{place}.jpg": jpeg()})
        text = f"<DESCRIPTION>café {number};\n two palms &amp; a house;</DESCRIPTION>"
        write_lines(
            root / "annotations_complete_eng" / f"{place}.eng", ["<TITLE>Plaza</TITLE>", text], encoding="latin-1"
        )
        write_lines(root / "annotations_complete_ger" / f"{place}.ger", ["<DESCRIPTION>Haus</DESCRIPTION>"])
    return root


@pytest.fixture
def segmented(official) -> Path:
    """The segmented release beside it; image 1020 has no segments."""
    benchmark = official.parent / "benchmark" / "saiapr_tc-12"
    for folder, numbers in (("00", range(991, 1000)), ("01", range(1000, 1020))):
        rows = [f"{number}\t{segment}\t{label}" for number in numbers for segment, label in ((1, 7), (2, 120), (3, 7))]
        write_lines(benchmark / folder / "labels.txt", rows)
    write_lines(
        benchmark / "00" / "labels.txt", [*(benchmark / "00" / "labels.txt").read_text().split("\n"), "991 4 9"]
    )
    write_lines(official.parent / "matlab" / "wlist100.txt", ["7\tpalm", "9\thouse", "120\thouse", "130\t ", "140"])
    return benchmark


def test_without_the_segmented_release_there_are_no_classes(official, caplog):
    rows = load_dataset("iapr_tc12", official.parent)
    assert rows["train"].column_names == ["id", "image", "texts"]
    assert {split: len(part) for split, part in rows.items()} == {"train": 27, "test": 3}
    first = rows["train"][0]
    assert first["texts"] == [f"café {first['id']}; two palms & a house;"]
    assert first["image"].size == (8, 8)
    assert "the segmented release is missing. Fetch iaprtc12.tgz" in caplog.text
    assert "30 pairs (train 27, test 3); the complete data set has 20,000" in caplog.text
    assert is_available("iapr_tc12", official)


def test_classes_are_the_labels_of_the_segments(official, segmented):
    with_classes = load_dataset("iapr_tc12", official.parent)
    names = with_classes["train"].features["labels"].feature.names
    assert names == ["palm", "house", "house (120)"]
    by_id = {row["id"]: [names[label] for label in row["labels"]] for part in with_classes.values() for row in part}
    assert len(by_id) == 29
    assert by_id["991"] == ["palm", "house", "house (120)"]
    assert by_id["1000"] == ["palm", "house (120)"]
    (segmented.parent.parent / "matlab" / "wlist100.txt").unlink()
    unnamed = load_dataset("iapr_tc12", official.parent)
    assert unnamed["train"].features["labels"].feature.names == ["label 7", "label 9", "label 120"]
    assert unnamed["test"]["id"][:] == with_classes["test"]["id"][:]


def test_pairs_that_are_not_whole_are_left_out(official, caplog):
    (official / "images" / "01" / "1003.jpg").unlink()
    empty = {
        1004: "<DESCRIPTION> \n</DESCRIPTION>",
        1005: "<DESCRIPTION></DESCRIPTION>",
        1006: "<DESCRIPTION/>\n<NOTES>with notes</NOTES>",
        1007: "<TITLE>Plaza</TITLE>",
        1008: "<DESCRIPTION>\r\n&nbsp;\r\n</DESCRIPTION>",
    }
    for number, annotation in empty.items():
        write_lines(official / "annotations_complete_eng" / "01" / f"{number}.eng", [annotation])
    ids = {item_id for part in load_dataset("iapr_tc12", official).values() for item_id in part["id"]}
    assert ids == {str(number) for number in range(991, 1021)} - {"1003", *map(str, empty)}
    assert "5 descriptions are empty and left out: 1004, 1005, 1006" in caplog.text


@pytest.mark.parametrize("row", ["991 1", "991 1 x", "../991 1 7", "991 1 -7"])
def test_rows_that_are_no_labels(official, segmented, row):
    write_lines(segmented / "01" / "labels.txt", ["991 1 7", row])
    with pytest.raises(DatasetError, match=r"01/labels.txt, row 2: .* is not the numbers of"):
        load_dataset("iapr_tc12", official.parent)


def test_nothing_whole(official, segmented):
    for path in segmented.glob("*/labels.txt"):
        write_lines(path, [])
    with pytest.raises(DatasetError, match=r"has no rows in any <dir>/labels.txt"):
        load_dataset("iapr_tc12", official.parent)
    write_lines(segmented / "01" / "labels.txt", ["5000 1 7"])
    with pytest.raises(DatasetError, match="no image has a description and a class"):
        load_dataset("iapr_tc12", official.parent)


def test_downloads_the_official_archive(official, server, cache, monkeypatch):
    monkeypatch.setenv("CMR_HUB_MIRROR_IAPR_TC12", f"{server.url}/resources/")
    server.files["/resources/iaprtc12.tgz"] = tar_of(entries_of(official.parent))
    assert len(load_dataset("iapr_tc12")["test"]) == 3
    assert len(load_dataset("iapr_tc12")["train"]) == 27
    assert len(server.requests) == 1
    assert not list(cache.rglob("*.ger"))
