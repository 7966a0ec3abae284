from __future__ import annotations

import json
import os
import sys
from itertools import product
from pathlib import Path

import pytest
from datasets import ClassLabel, List
from PIL import Image

from cmr_hub.data import is_available, load_dataset, table_files
from cmr_hub.data.base import split_by_hash
from cmr_hub.errors import DatasetError, InputError


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
        (["file_name,text", 'a.png,"A'], 'not valid CSV .* write each quote twice: "a ""big"" cat"'),
        (["file_name,text", r'a.png,"A \"b\" c"'], "line 2: not valid CSV .* write each quote twice"),
        (["file_name,text", "a.png," + "A" * 200_000], "not valid CSV .*field larger"),
        (["file_name,text", "sub,A"], "name a file that does not exist: sub"),
        (["file_name,text", "mine/D.png,A"], r"a file that does not exist: mine/D\.png\. There is sub/d\.png\."),
        (["file_name,text", "https://host/a.png,A"], "is refused, it is an address, not a file"),
        (["a.png,A", "b.png,B"], r"has no header: its first row is a\.png, a\. Put file_name and text above"),
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
        ('{"file_name": ["a.png"], "text": "A"}', r"must hold the path of an image, not \['a.png'\]"),
        ('{"file_name": NaN, "text": "A"}', "must hold the path of an image, not nan"),
        ('{"file_name": 3, "text": "A"}', "name a file that does not exist: 3"),
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
    with pytest.raises(DatasetError, match=r"has no metadata.csv that says .* folder of its class"):
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


def test_windows_1252_is_read_with_a_warning(folder, caplog):
    (folder / "metadata.csv").write_bytes("file_name,text,split\na.png,Café – 5 €,train\n".encode("cp1252"))
    assert load_dataset("folder", folder)["train"]["texts"][:] == [["Café – 5 €"]]
    assert "is not UTF-8 and is read as Windows-1252, as in 'Café'" in caplog.text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("Кошка спит", "cp1251"), ("一只微笑的猫", "gb18030"), ("café", "mac_roman"), ("żółw", "cp1250")],
)
def test_other_encodings_have_to_be_named(folder, text, encoding):
    (folder / "metadata.csv").write_bytes(f"file_name,text,split\na.png,{text},train\n".encode(encoding))
    with pytest.raises(DatasetError, match=r"is not UTF-8: byte .* is 0x.*Save it as UTF-8, or name its encoding"):
        load_dataset("folder", folder)
    assert load_dataset("folder", folder, encoding=encoding)["train"]["texts"][:] == [[text]]


def test_an_encoding_that_is_not_the_table_s(folder):
    (folder / "metadata.csv").write_bytes("file_name,text\na.png,Café\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"is not ASCII: byte 24 is 0xe9"):
        load_dataset("folder", folder, encoding="ascii")
    with pytest.raises(DatasetError, match="no encoding 'windows'"):
        load_dataset("folder", folder, encoding="windows")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name\ttext\tsplit\r\na.png\t猫\ttrain\r\n"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "猫", "split": "train"}\r\n'),
        ("metadata.json", '[{"file_name": "a.png", "text": "猫", "split": "train"}]'),
    ],
)
def test_encodings_that_the_first_bytes_tell(folder, name, content, encoding):
    (folder / name).write_bytes(content.encode(encoding))
    assert load_dataset("folder", folder)["train"]["texts"][:] == [["猫"]]


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("preamble", ["", "sep={}\r\n", "#TYPE System.Object\n", "\r\n;;\r\n"])
def test_separators_are_found(folder, separator, preamble):
    rows = [("File Name", "TEXT", "Label", "split"), ("a.png", '"A, b; c | d"', "x", "train")]
    lines = "\r\n".join(separator.join(row) for row in [*rows, ("b.png", "B", "y", "train")])
    (folder / "metadata.csv").write_text(preamble.format(separator) + lines, newline="")
    loaded = load_dataset("folder", folder)["train"]
    assert loaded["texts"][:] == [["A, b; c | d"], ["B"]]
    assert loaded.features["label"].names == ["x", "y"]


def test_blanks_behind_separators(folder):
    loaded = load(folder, "file_name, text, label, split", 'a.png, "A, asleep", x, train', "b.png, B, x, train")
    assert loaded["train"]["texts"][:] == [["A, asleep"], ["B"]]
    loaded = load(folder, "file_name,text,split", 'a.png, "A" cat,train')
    assert loaded["train"]["texts"][:] == [['"A" cat']]


def test_index_column_of_pandas_and_blank_rows_and_columns(folder):
    loaded = load(folder, ",file_name,text,split,,", "0,a.png,A,train,,", ",,,,,", "1,b.png,B,train", ",,,")
    assert loaded["train"]["texts"][:] == [["A"], ["B"]]
    with pytest.raises(DatasetError, match="line 2: 5 cells, but the header has 3 columns"):
        load(folder, "file_name,text,split,,", "a.png,A,train,,stray")


MISSING = {
    "text": "have no text",
    "label": "nothing in the column 'label'",
    "id": "the id is .*; give every row one",
    "split": "there is no split; give every row one",
}


@pytest.mark.parametrize("cell", ["NaN", "null", '"nan"', '"  "', '"<NA>"', "[NaN, null]", "[]"])
def test_missing_values_of_json(folder, cell):
    row = '{"file_name": "a.png", "text": "A", "caption": %s, "split": "train"}'
    assert load(folder, row % cell, name="metadata.jsonl")["train"]["texts"][:] == [["A"]]
    for column in ("text", "label", "id", "split"):
        values = {"file_name": '"a.png"', "text": '"A"', column: cell}
        line = ", ".join(f'"{name}": {value}' for name, value in values.items())
        with pytest.raises(DatasetError, match=MISSING[column]):
            load(folder, f"{{{line}}}", name="metadata.jsonl")


@pytest.mark.parametrize("cell", ["nan", "NaN", "#N/A", "#NAME?", " "])
@pytest.mark.parametrize("column", MISSING)
def test_missing_values_of_csv(folder, cell, column):
    values = {"file_name": "a.png", "text": "A", "label": "x", column: cell}
    with pytest.raises(DatasetError, match=MISSING[column]):
        load(folder, ",".join(values), ",".join(values.values()))


@pytest.mark.parametrize(
    "cell", ["['x', 'y']", '["x", "y"]', "('x', 'y')", "{'x', 'y'}", "['x' 'y']", "x;y", "x; y;", '"x\ny"']
)
def test_several_classes_in_a_cell_of_csv(folder, cell):
    quoted = cell if cell.startswith('"') else '"' + cell.replace('"', '""') + '"'
    loaded = load(folder, "file_name,text,labels,split", f"a.png,A,{quoted},train", "b.png,B,y,train")
    assert loaded["train"].features["labels"].feature.names == ["x", "y"]
    assert loaded["train"]["labels"][:] == [[0, 1], [1]]


def test_several_classes_as_text_in_json_lines(folder):
    lines = ['{"file_name": "a.png", "text": "A", "labels": "[3, 12]", "split": "train"}', ""]
    assert load(folder, *lines, name="metadata.jsonl")["train"].features["labels"].feature.names == ["3", "12"]


@pytest.mark.parametrize(("cell", "sign"), [("x, y", "a comma"), ("x|y", "a bar")])
def test_other_separators_of_classes_are_refused_or_named(folder, cell, sign):
    lines = ["file_name,text,labels,split", "b.png,B,y,train", f'a.png,A,"{cell}",train']
    with pytest.raises(DatasetError, match=f"line 3: the labels .* have {sign}. Several classes are separated by ';'"):
        load(folder, *lines)
    assert load(folder, *lines, label_separator=cell[1])["train"]["labels"][:] == [[1], [0, 1]]
    assert load(folder, *lines, label_separator=";")["train"]["labels"][:] == [[1], [0]]


def test_commas_in_names_of_classes_that_are_separated(folder):
    loaded = load(folder, "file_name,text,labels,split", 'a.png,A,"Food, drink;Sky",train', "b.png,B,Sky,train")
    assert loaded["train"].features["labels"].feature.names == ["Food, drink", "Sky"]


@pytest.mark.parametrize("cell", ["[x, y]", "['x', 'y'", "['x'...'y']"])
def test_lists_that_cannot_be_read_are_refused(folder, cell):
    with pytest.raises(DatasetError, match=r"line 2: the labels .* are no list of JSON or Python. Write \['x', 'y'\]"):
        load(folder, "file_name,text,labels", f'a.png,A,"{cell}"')


def test_list_in_the_column_of_one_class(folder):
    with pytest.raises(DatasetError, match="2 classes in the column label; for several name it labels"):
        load(folder, "file_name,text,label", "a.png,A,\"['x', 'y']\"")


def test_halves_of_letters_are_left_out(folder):
    """As JavaScript leaves them that cuts a text within an emoji."""
    row = '{"file_name": "%s.png", "text": "a cat \\ud83d", "label": "%s", "id": "%s", "split": "train"}'
    loaded = load(folder, row % ("a", "x\\udc00", "1"), row % ("b", "x", "2\\ud83d"), name="metadata.jsonl")
    assert loaded["train"]["texts"][:] == [["a cat"], ["a cat"]]
    assert loaded["train"].features["label"].names == ["x"]
    assert loaded["train"]["id"][:] == ["1", "2"]
    with pytest.raises(DatasetError, match="is refused, it is not UTF-8; rename the file"):
        load(folder, row % ("\\ud83d", "x", "1"), name="metadata.jsonl")


def test_several_texts_in_a_cell_of_csv(folder):
    texts = """['A cat, asleep.', ""A dog's.""]"""
    loaded = load(folder, "file_name,captions,split", f'a.png,"{texts}",train', "b.png,[sic] B,train")
    assert loaded["train"]["texts"][:] == [["A cat, asleep.", "A dog's."], ["[sic] B"]]


@pytest.mark.parametrize("values", [("3", "3.0", '"3"'), ("3.0", '"3.0"', '" 3 "'), ('["3"]', "[3]", "3")])
def test_one_class_however_its_number_is_written(folder, values):
    row = '{"file_name": "%s.png", "text": "A", "label": %s, "split": "train"}'
    loaded = load(folder, *(row % each for each in zip("abc", values, strict=True)), name="metadata.jsonl")
    assert loaded["train"].features["label"].names == ["3"]


def test_decimal_commas_of_class_ids(folder):
    rows = [f"{name}.png;A;{number};train" for name, number in zip("abc", ("1,0", "10,0", "2"), strict=True)]
    loaded = load(folder, "file_name;text;label;split", *rows)
    assert loaded["train"].features["label"].names == ["1", "2", "10"]


def test_class_ids_that_became_floats_are_in_natural_order(folder):
    rows = [f"{name}.png,A,{number},train" for name, number in zip("abc", ("1.0", "10.0", "2.0"), strict=True)]
    assert load(folder, "file_name,text,label,split", *rows)["train"].features["label"].names == ["1", "2", "10"]
    rows = [f"{name}.png,A,{name_},train" for name, name_ in zip("abc", ("1.1", "1.10", "1.0"), strict=True)]
    assert load(folder, "file_name,text,label,split", *rows)["train"].features["label"].names == ["1.0", "1.1", "1.10"]


def test_rows_of_one_image_have_the_same_classes_in_another_order(folder):
    loaded = load(folder, "file_name,text,labels,split", "a.png,A,x;y,train", "a.png,B,\"['y', 'x']\",train")
    assert loaded["train"]["labels"][:] == [[0, 1]]


def test_lines_are_counted_from_the_top_of_the_file(folder):
    with pytest.raises(DatasetError, match="line 5: 3 cells"):
        load(folder, "sep=;", "", "file_name;text", "a.png;A", "a.png;B;C")


def test_rows_of_one_image_agree_in_a_class_written_in_two_ways(folder):
    loaded = load(folder, "file_name,text,label,split", "a.png,A,2,train", "a.png,B,2.0,train")
    assert loaded["train"]["texts"][:] == [["A", "B"]]


def test_spellings_of_a_class(folder, caplog):
    rows = ["a.png,A,Big  cat,train", "b.png,B,\ufeffBig\xa0cat\u200b ,train", "c.png,C,big cat,train"]
    loaded = load(folder, "file_name,text,label,split", *rows)
    assert loaded["train"].features["label"].names == ["Big cat", "big cat"]
    assert "differ in upper and lower case alone are two: Big cat and big cat" in caplog.text


@pytest.mark.parametrize("name", ["A.PNG", " a.png", ".\\a.png", "{folder}/a.png"])
def test_names_of_files_as_other_systems_write_them(folder, name):
    loaded = load(folder, "file_name,text,split", f"{name.format(folder=folder.resolve())},A,train")
    assert loaded["train"]["id"][:] == ["a.png"]


@pytest.mark.parametrize(
    ("name", "file"),
    [("a", "a.png"), ("D.png", "sub/d.png"), ("d", "sub/d.png"), ("SUB\\d", "sub/d.png"), ("7", "7.png")],
)
def test_names_without_their_suffix_or_the_folder_of_the_images(folder, name, file):
    Image.new("RGB", (5, 5)).save(folder / "7.png")
    (folder / "sub" / "._d.png").touch()
    assert load(folder, "file_name,text,split", f"{name},A,train")["train"]["id"][:] == [file]
    (folder / "metadata.csv").unlink()
    cell = int(name) if name.isdecimal() else name
    loaded = load(folder, json.dumps([{"file_name": cell, "text": "A"}]), name="metadata.json", split="train")
    assert loaded["train"]["id"][:] == [file]


def test_names_that_two_images_may_mean(folder):
    (folder / "sub" / "a.jpg").touch()
    with pytest.raises(DatasetError, match=r"a file that does not exist: a\. There is a\.png\."):
        load(folder, "file_name,text", "a,A")


def test_names_that_two_files_may_mean(folder):
    Image.new("RGB", (5, 5)).save(folder / "A.png")
    if len(list(folder.glob("[aA].png"))) < 2:
        pytest.skip("the file system does not tell upper and lower case apart")
    with pytest.raises(DatasetError, match=r"a file that does not exist: A\.PNG"):
        load(folder, "file_name,text", "A.PNG,A")


def test_json_is_a_list_of_rows(folder):
    with pytest.raises(DatasetError, match="must hold a list of objects, one per row"):
        load(folder, '{"file_name": {"0": "a.png"}}', name="metadata.json")
    with pytest.raises(DatasetError, match=r"not valid JSON .*call it \.jsonl"):
        load(folder, '{"file_name": "a.png"}', '{"file_name": "b.png"}', name="metadata.json")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("captions.csv", r"Is it captions\.csv\? Call it metadata\.csv"),
        ("README.txt", r"says which text .* image\. Or put each image into the folder of its class"),
        ("Mappe1.xls", r"Save Mappe1\.xls as metadata\.csv \('CSV UTF-8'\)"),
        (".captions.csv", r"says which text .* image\. Or put each image .*: a\.png and sub/d\.png are at two"),
    ],
)
def test_tables_of_another_name_are_proposed(folder, name, message):
    (folder / name).touch()
    with pytest.raises(DatasetError, match=message):
        load_dataset("folder", folder)


def test_text_file_with_the_columns_of_a_table_is_proposed(folder):
    (folder / "README.txt").write_text("Images of mine.")
    (folder / "captions.txt").write_text("image,caption\na.png,A\n")
    with pytest.raises(DatasetError, match=r"Is it captions\.txt\? Call it metadata\.txt"):
        load_dataset("folder", folder)
    (folder / "captions.txt").rename(folder / "metadata.txt")
    assert load_dataset("folder", folder, split="train")["train"]["texts"][:] == [["A"]]


@pytest.mark.parametrize("above", ["My images, 2024", "Tabelle 1;;", 'a; b,"c"\n\n;x', "Stand: 1.5.2024\n" * 20])
def test_rows_above_the_header(folder, caplog, above):
    loaded = load(folder, above, "file_name;text", "a.png;A, asleep", "b.png;B", split="train")
    assert loaded["train"]["texts"][:] == [["A, asleep"], ["B"]]
    with pytest.raises(DatasetError, match=f"line {above.count(chr(10)) + 3}: 3 cells, but the header has 2 columns"):
        load(folder, above, "file_name;text", "a.png;A;B")


def test_names_of_text_columns(folder):
    assert load(folder, "image,title,caption", "a.png,T,A", split="train")["train"]["texts"][:] == [["A"]]
    loaded = load(folder, "image,Title,description", "a.png,T,D", split="train")
    assert loaded["train"]["texts"][:] == [["T", "D"]]


def test_split_of_all_pairs(folder):
    lines = ["file_name,text", "a.png,A", "b.png,B", "c.png,C"]
    assert {split: len(part) for split, part in load(folder, *lines, split="train").items()} == {"train": 3}
    with pytest.raises(InputError, match="split is one of train, validation, test, not 'all'"):
        load(folder, *lines, split="all")


@pytest.fixture
def classes(tmp_path) -> Path:
    """Images in train/cat_1, train/dog, Test/cat_1 and Test/dog, with files of systems."""
    root = tmp_path / "classes"
    for split, name, file in product(("train", "Test"), ("cat_1", "dog"), ("a.png", "b.PNG")):
        (root / split / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 5)).save(root / split / name / file)
    for name in ("._a.png", ".DS_Store", "Thumbs.db"):
        (root / "train" / "dog" / name).write_bytes(b"x")
    return root


def test_folders_of_classes_and_splits(classes, caplog):
    loaded = load_dataset("folder", classes)
    assert is_available("folder", classes)
    assert {split: part["id"][:] for split, part in loaded.items()} == {
        "train": ["train/cat_1/a.png", "train/cat_1/b.PNG", "train/dog/a.png", "train/dog/b.PNG"],
        "test": ["Test/cat_1/a.png", "Test/cat_1/b.PNG", "Test/dog/a.png", "Test/dog/b.PNG"],
    }
    assert loaded["test"].features["label"].names == ["cat_1", "dog"]
    assert loaded["test"]["texts"][:] == [["cat 1"], ["cat 1"], ["dog"], ["dog"]]
    assert "the folders of the images are their classes" in caplog.text


def test_folders_of_classes_without_splits(classes):
    loaded = load_dataset("folder", classes / "train")
    assert {row["id"]: row["label"] for part in loaded.values() for row in part} == {
        "cat_1/a.png": 0,
        "cat_1/b.PNG": 0,
        "dog/a.png": 1,
        "dog/b.PNG": 1,
    }


def test_images_that_are_not_read_are_named(classes, caplog):
    for name in ("a.NEF", "b.svg"):
        (classes / "train" / "dog" / name).write_bytes(b"x")
    assert len(load_dataset("folder", classes)["train"]) == 4
    assert "2 images of formats that are not read are left out: train/dog/a.NEF, train/dog/b.svg." in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf_8_are_refused(classes):
    os.rename(classes / "train" / "dog" / "a.png", os.fsencode(classes / "train" / "dog") + b"/\xba\xec.png")
    with pytest.raises(DatasetError, match=r"path 'train/dog/\\udcba\\udcec.png' is refused, it is not UTF-8; rename"):
        load_dataset("folder", classes)


def test_folders_of_one_class_or_of_two_depths_need_a_table(classes):
    (classes / "train" / "c.png").touch()
    for folder in (classes, classes / "train" / "dog", classes.parent):
        with pytest.raises(DatasetError, match=r"has no metadata\.csv"):
            load_dataset("folder", folder)


def test_table_above_folders_of_splits(classes):
    rows = [f"{split}/dog/a.png,A" for split in ("train", "Test")]
    loaded = load(classes, "file_name,text", *rows)
    assert {split: part["id"][:] for split, part in loaded.items()} == {
        "train": ["train/dog/a.png"],
        "test": ["Test/dog/a.png"],
    }


def test_table_in_each_folder_of_a_split(classes):
    for split, label in (("train", "3"), ("Test", "3.0")):
        (classes / split / "metadata.csv").write_text(f"file_name,text,label\ndog/a.png,A,{label}\n")
    loaded = load_dataset("folder", classes)
    assert is_available("folder", classes)
    assert {split: part["id"][:] for split, part in loaded.items()} == {
        "train": ["train/dog/a.png"],
        "test": ["Test/dog/a.png"],
    }
    assert loaded["test"].features["label"].names == ["3"]


def test_numbers_that_name_images_in_a_table_of_a_split(classes):
    for split in ("train", "Test"):
        Image.new("RGB", (5, 5)).save(classes / split / "7.png")
        (classes / split / "metadata.json").write_text('[{"file_name": 7.0, "text": "A"}]')
    assert load_dataset("folder", classes)["test"]["id"][:] == ["Test/7.png"]


def test_metadata_that_is_too_large(folder, monkeypatch):
    monkeypatch.setattr(table_files, "MAX_TABLE_BYTES", 20)
    with pytest.raises(DatasetError, match="may have 20"):
        load(folder, "file_name,text", "a.png,A")
