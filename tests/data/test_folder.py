from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import ClassLabel, List
from PIL import Image

from cmr_hub.data import is_available, load_dataset, table
from cmr_hub.data.base import split_by_hash
from cmr_hub.errors import DatasetError


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images a.png, b.png, c.png and sub/d.png, and no metadata yet."""
    root = tmp_path / "mine"
    for name in ("a.png", "b.png", "c.png", "sub/d.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 5)).save(root / name)
    return root


def load(folder: Path, *lines: str, name: str = "metadata.csv", **options: str):
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_dataset("folder", folder, **options)


def rows_of(dataset) -> dict[str, dict]:
    return {row["id"]: row for part in dataset.values() for row in part}


def test_a_plain_csv(folder):
    loaded = load(folder, "file_name,text,label", "a.png,A cat,cat", 'b.png,"A dog, asleep",dog', "c.png,Über uns,cat")
    rows = rows_of(loaded)
    assert set(rows) == {"a.png", "b.png", "c.png"}
    assert rows["b.png"]["texts"] == ["A dog, asleep"]
    assert rows["a.png"]["image"].size == (5, 5)
    part = next(iter(loaded.values()))
    assert part.column_names == ["id", "image", "texts", "label"]
    assert part.features["label"] == ClassLabel(names=["cat", "dog"])
    assert all(split_by_hash(item_id) == split for split, part in loaded.items() for item_id in part["id"])


def test_several_text_columns_splits_and_ids(folder):
    loaded = load(
        folder,
        "id,image,caption_0,caption_1,split,note",
        "one,a.png,First.,Second.,train,x",
        "two,b.png,First., ,val,x",
        "three,sub/d.png,Same.,Same.,TEST,x",
    )
    assert {split: part["id"][:] for split, part in loaded.items()} == {
        "train": ["one"],
        "validation": ["two"],
        "test": ["three"],
    }
    assert [row["texts"] for row in rows_of(loaded).values()] == [["First.", "Second."], ["First."], ["Same."]]
    assert "label" not in loaded["train"].column_names


def test_rows_of_one_image_are_merged(folder):
    loaded = load(
        folder, "file_name,caption,label", "a.png,One.,x", "b.png,Other.,y", "./a.png,Two.,x", "a.png,One.,x"
    )
    assert rows_of(loaded)["a.png"]["texts"] == ["One.", "Two."]
    assert len(rows_of(loaded)) == 2


def test_several_labels(folder):
    loaded = load(folder, "file_name,text,labels,split", "a.png,A,sea; sky,train", "b.png,B,sky,train")
    assert loaded["train"].features["labels"] == List(ClassLabel(names=["sea", "sky"]))
    assert loaded["train"]["labels"][:] == [[0, 1], [1]]
    loaded = load(folder, "file_name,text,labels,split", "a.png,A,sea|sky,train", label_separator="|")
    assert loaded["train"]["labels"][:] == [[0, 1]]


def test_json_lines(folder):
    lines = [
        {"file_name": "a.png", "texts": ["One.", "Two.", "One."], "labels": ["sea", "sky"], "split": "train"},
        {"file_name": "b.png", "texts": "Three.", "labels": ["sky"], "split": "train"},
    ]
    loaded = load(folder, *map(json.dumps, lines), "", name="metadata.jsonl")
    assert loaded["train"]["texts"][:] == [["One.", "Two."], ["Three."]]
    assert loaded["train"]["labels"][:] == [[0, 1], [1]]
    loaded = load(folder, '{"file_name": "a.png", "text": "A", "label": 7, "split": "test"}', name="metadata.jsonl")
    assert loaded["test"].features["label"].names == ["7"]


def test_the_byte_order_mark_of_spreadsheets(folder):
    (folder / "metadata.csv").write_text("file_name,text,split\r\na.png,A,test\r\n", encoding="utf-8-sig")
    assert load_dataset("folder", folder)["test"]["texts"][:] == [["A"]]


def test_empty_splits_are_named(folder, caplog):
    load(folder, "file_name,text", "a.png,A")
    assert "add a column split" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file_name,text", "a.png,A", "x.png,X", "y.png,Y"], r"2 of 3 images name a file .* exist: x.png, y.png\."),
        (["file_name,text", "a.png,A", "b.png, ", "c.png,"], r"2 of 3 .* no text: b.png \(line 3\), c.png \(line 4\)"),
        (["file_name,label", "a.png,x"], "no text column.*Its columns are: file_name, label"),
        (["picture,text", "a.png,A"], "no column file_name or image"),
        (["file_name,text"], "no row in it"),
        ([""], "no row in it"),
        (["file_name,text,text", "a.png,A,B"], "two columns of one name"),
        (["file_name,text,label", "a.png,A,x", "a.png,B,y"], r"line 3: a.png has labels \('y',\) here but \('x',\)"),
        (["file_name,text,split", "a.png,A,train", "a.png,B,test"], "has split 'test' here but 'train'"),
        (["file_name,text,label,labels", "a.png,A,x,y"], "both a column label and a column labels"),
        (["file_name,text,label", "a.png,A,x", "b.png,B,"], r"nothing in the column 'label'.*b.png \(line 3\)"),
        (["file_name,text,split", "a.png,A,somewhere"], "line 2: the split 'somewhere' is not one of train"),
        (["file_name,text,id", "a.png,A,same", "b.png,B,same"], "a.png and b.png have the same id 'same'"),
        (["file_name,text,id", "a.png,A,"], "line 2: the id is ''"),
        (["file_name,text", "a.png,A, asleep"], "line 2: 3 cells, but the header has 2 columns"),
        (["file_name,text", 'a.png,"A'], "not valid CSV"),
        (["file_name,text", "a.png," + "A" * 200_000], "not valid CSV .*field larger"),
        (["file_name,text", "sub,A"], "name a file that does not exist: sub"),
    ],
)
def test_unusable_tables(folder, lines, message):
    with pytest.raises(DatasetError, match=message):
        load(folder, *lines)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 1: not valid JSON"),
        ("[1]", "line 1: a list; each line must be a JSON object"),
        ("[" * 100_000, "not valid JSON"),
        ('{"file_name": 3, "text": "A"}', "must hold the path of an image, not 3"),
        ('{"file_name": "a.png", "text": {"en": "A"}}', "which is not a text"),
        ('{"file_name": "a.png", "text": "A", "label": ["x", "y"]}', "2 classes in the column label"),
    ],
)
def test_unusable_json_lines(folder, line, message):
    with pytest.raises(DatasetError, match=message):
        load(folder, line, name="metadata.jsonl")


@pytest.mark.parametrize("name", ["../secret.png", "sub/../../secret.png", "{outside}/secret.png", "..\\secret.png"])
def test_paths_that_lead_out_are_refused(folder, tmp_path, name):
    Image.new("RGB", (5, 5)).save(tmp_path / "secret.png")
    with pytest.raises(DatasetError, match=r"line 3: the path .* is refused"):
        load(folder, "file_name,text", "a.png,A", f"{name.format(outside=tmp_path)},B")


def test_links_that_lead_out_are_refused(folder, tmp_path):
    Image.new("RGB", (5, 5)).save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    for name in ("link.png", "up/secret.png"):
        with pytest.raises(DatasetError, match="symbolic link leads out"):
            load(folder, "file_name,text", f"{name},A")


def test_table_that_is_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "private.csv").write_text("file_name,text\na.png,A\n")
    (folder / "metadata.csv").symlink_to(tmp_path / "private.csv")
    with pytest.raises(DatasetError, match=r"metadata\.csv is a symbolic link that leads out"):
        load_dataset("folder", folder)


def test_no_metadata(folder):
    assert not is_available("folder", folder)
    with pytest.raises(DatasetError, match=r"has no metadata.csv or metadata.jsonl"):
        load_dataset("folder", folder)


def test_metadata_one_level_too_deep(folder):
    (folder / "sub" / "metadata.csv").write_text("file_name,text\nd.png,A\n")
    with pytest.raises(DatasetError, match=r"There is one at sub/metadata.csv: give that folder"):
        load_dataset("folder", folder)


def test_two_metadata_files(folder):
    (folder / "metadata.csv").touch()
    (folder / "metadata.jsonl").touch()
    with pytest.raises(DatasetError, match="keep one of them"):
        load_dataset("folder", folder)


def test_metadata_that_is_not_utf8(folder):
    (folder / "metadata.csv").write_bytes("file_name,text\na.png,Café\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"not UTF-8: byte 24 is 0xe9. Save it as UTF-8"):
        load_dataset("folder", folder)


def test_metadata_that_is_too_large(folder, monkeypatch):
    monkeypatch.setattr(table, "MAX_TABLE_BYTES", 20)
    with pytest.raises(DatasetError, match="may have 20"):
        load(folder, "file_name,text", "a.png,A")
