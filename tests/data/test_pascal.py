from __future__ import annotations

import random
from pathlib import Path

import pytest

from cmr_hub.data import is_available, load_dataset
from cmr_hub.data.pascal import parse_index, split_by_class
from cmr_hub.errors import DatasetError, DownloadError
from toys import serve_pascal

BASE = "/pascal-sentences"


@pytest.fixture
def made(tmp_path) -> Path:
    """Three whole pairs."""
    for item_id in ("cat/2008_1", "cat/2008_2", "dog/2008_3"):
        for side, suffix, content in (("images", "jpg", "\xff"), ("texts", "txt", f"One {item_id}.\n\n Two. \n")):
            path = tmp_path / "made" / side / f"{item_id}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    return tmp_path / "made"


@pytest.fixture
def mirror(server, cache, monkeypatch, real_data):
    """The official page and images, of 24 real pairs of four classes."""
    monkeypatch.setenv("CMR_HUB_MIRROR_PASCAL", server.url + BASE)
    serve_pascal(server, real_data / "pascal_sentence", BASE, ("cat", "cow", "dog", "horse"), most=6)
    return server


def test_the_real_subset(real_data, caplog):
    rows = load_dataset("pascal", real_data / "pascal_sentence")
    assert {split: len(part) for split, part in rows.items()} == {"train": 226, "validation": 30, "test": 26}
    assert "282 pairs (train 226, validation 30, test 26); the complete data set has 1,000" in caplog.text
    assert "lack images: aeroplane 0, bicycle 0, bird 0, boat 0, bottle 4, bus 0, car 4, chair" in caplog.text
    label = rows["train"].features["label"]
    for name in ("cat", "cow", "dog", "horse", "sheep"):  # the classes with all their images
        counts = [list(part["label"]).count(label.str2int(name)) for part in rows.values()]
        assert counts == [40, 5, 5]
    first = rows["train"][0]
    assert first["id"].partition("/")[0] == label.int2str(first["label"])
    assert len(first["texts"]) == 5
    assert first["image"].mode == "RGB"


def test_the_complete_classes_of_the_real_subset(real_data, caplog):
    rows = load_dataset("pascal", real_data / "pascal_sentence", complete_classes=True)
    assert {split: len(part) for split, part in rows.items()} == {"train": 200, "validation": 25, "test": 25}
    assert rows["test"].features["label"].names == ["cat", "cow", "dog", "horse", "sheep"]
    assert set(rows["test"]["label"]) == {0, 1, 2, 3, 4}
    assert "250 pairs (train 200" in caplog.text
    assert "Left out for want of images: aeroplane 0" in caplog.text
    everything = load_dataset("pascal", real_data / "pascal_sentence")
    assert set(rows["test"]["id"]) < set(everything["test"]["id"])


def test_no_complete_class(made):
    with pytest.raises(DatasetError, match=r"not one class has its 50 pairs: .*cat 2.*dog 1"):
        load_dataset("pascal", made, complete_classes=True)


def test_the_split_of_the_complete_data_set(real_data):
    texts = [f"{path.parent.name}/{path.stem}" for path in (real_data / "pascal_sentence" / "texts").glob("*/*.txt")]
    splits = split_by_class(texts)
    assert [list(splits.values()).count(split) for split in ("train", "validation", "test")] == [800, 100, 100]
    assert split_by_class(random.Random(0).sample(texts, 1000)) == splits


def test_pairs_and_what_is_left_out(made, caplog):
    (made / "images" / "cat" / "2008_2.jpg").unlink()
    (made / "images" / "cat" / "other.jpg").touch()
    rows = load_dataset("pascal", made)["train"]
    assert rows["id"][:] == ["cat/2008_1", "dog/2008_3"]
    assert rows["texts"][0] == ["One cat/2008_1.", "Two."]
    assert "2 pairs (train 2); the complete data set has 1,000" in caplog.text


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("texts/cat/2008_1.txt", b"\n \n", "2008_1.txt is empty"),
        ("texts/cat/2008_1.txt", b"\xff\xfe", "not a UTF-8 text file"),
        ("images/unicorn/1.jpg", b"", "unicorn is not one of Pascal Sentence's 20 classes"),
    ],
)
def test_unusable_files(made, path, content, message):
    (made / path).parent.mkdir(exist_ok=True)
    (made / path).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        load_dataset("pascal", made)


def test_no_whole_pair(made):
    for path in made.glob("images/*/*.jpg"):
        path.rename(path.with_stem(f"{path.stem}_x"))
    with pytest.raises(DatasetError, match="no image in images/ has the class and name of a text"):
        load_dataset("pascal", made)


def test_the_index_is_read_whatever_its_dialect():
    page = """
    <TABLE><TR><TD><IMG alt="" SRC='cat/2008_1.jpg'>
    <TD><TABLE><TR><TD>A cat &amp; a <i>dog</i>.<TR><TD> Two
      lines. </TABLE>
    <tr><td><img src="../../evil.jpg"></td><td><table><tr><td>Not taken.</td></tr></table></td></tr>
    <tr><td><img src="http://elsewhere/x/1.jpg"></td><td>Not taken.</td></tr>
    <tr><td><img src="dog/2008_2.jpg"></td><td><table><tr><td>Last."""
    assert parse_index(page) == {"cat/2008_1": ["A cat & a dog.", "Two lines."], "dog/2008_2": ["Last."]}


def test_downloads_what_the_official_page_lists(mirror, cache, real_data):
    told = []
    rows = load_dataset("pascal", progress=lambda *step: told.append(step))
    assert {split: len(part) for split, part in rows.items()} == {"train": 24}
    assert told[-1] == (1.0, "Downloading Pascal Sentence")
    row = rows["train"][0]
    original = real_data / "pascal_sentence"
    assert row["texts"] == [
        line.strip() for line in (original / "texts" / f"{row['id']}.txt").read_text().splitlines()
    ]
    saved = cache / "pascal" / "images" / f"{row['id']}.jpg"
    assert saved.read_bytes() == (original / "images" / f"{row['id']}.jpg").read_bytes()
    assert is_available("pascal")
    asked = len(mirror.requests)
    assert asked == 25
    load_dataset("pascal")
    assert len(mirror.requests) == asked


def test_an_interrupted_download_fetches_only_the_rest(mirror):
    lost = next(path for path in mirror.files if "/horse/" in path)
    content = mirror.files.pop(lost)
    with pytest.raises(DownloadError, match=r"horse/.* answered 404.*images/<class>/<id>.jpg"):
        load_dataset("pascal")
    assert not is_available("pascal")
    got = {path for path, _ in mirror.requests} - {lost}
    mirror.requests.clear()
    mirror.files[lost] = content
    assert len(load_dataset("pascal")["train"]) == 24
    assert not got & {path for path, _ in mirror.requests}
    assert (lost, None) in mirror.requests


def test_an_error_page_is_no_image(mirror):
    lost = next(path for path in mirror.files if "/cow/" in path)
    mirror.files[lost] = b"<html>moved</html>"
    with pytest.raises(DownloadError, match="did not send a JPEG"):
        load_dataset("pascal")


def test_a_page_of_another_layout(mirror):
    mirror.files[f"{BASE}/"] = b"<html>We have moved.</html>"
    with pytest.raises(DownloadError, match="not laid out as it was: it has no image"):
        load_dataset("pascal")
    mirror.files[f"{BASE}/"] = b'<table><tr><td><img src="cat/1.jpg"></td></tr></table>'
    with pytest.raises(DownloadError, match="no sentences for cat/1"):
        load_dataset("pascal")
