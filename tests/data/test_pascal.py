from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from cmr_hub.data import info, is_available, load_dataset
from cmr_hub.data.pascal import parse_index, split_by_class
from cmr_hub.errors import DatasetError, DownloadError
from toys import serve_pascal

BASE = "/pascal-sentences"


@pytest.fixture
def made(tmp_path) -> Path:
    """Three whole pairs."""
    for item_id in ("cat/2008_1", "cat/2008_2", "dog/2008_3"):
        write_pair(tmp_path / "made", item_id)
    return tmp_path / "made"


def write_pair(folder: Path, item_id: str) -> None:
    for kind, suffix, content in (("images", "jpg", "\xff"), ("texts", "txt", f"One {item_id}.\n\n Two. \n")):
        path = folder / kind / f"{item_id}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture
def mirror(server, cache, monkeypatch, real_data):
    """The official page and images, of 24 real pairs of four classes."""
    monkeypatch.setenv("CMR_HUB_MIRROR_PASCAL", server.url + BASE)
    serve_pascal(server, real_data / "pascal_sentence", BASE, ("cat", "cow", "dog", "horse"), most=6)
    return server


def test_the_real_folder(real_data, caplog):
    rows = load_dataset("pascal", real_data / "pascal_sentence")
    assert {split: len(part) for split, part in rows.items()} == {"train": 800, "validation": 100, "test": 100}
    assert not caplog.records
    label = rows["train"].features["label"]
    assert label.names == list(info("pascal").classes)
    for split, of_class in (("train", 40), ("validation", 5), ("test", 5)):
        assert Counter(rows[split]["label"]) == dict.fromkeys(range(20), of_class)
    first = rows["train"][0]
    assert first["id"].partition("/")[0] == label.int2str(first["label"])
    counts = Counter(len(texts) for part in rows.values() for texts in part["texts"])
    assert counts == {5: 996, 4: 3, 6: 1}
    assert first["image"].mode == "RGB"
    assert min(first["image"].size) == 256


def test_complete_classes_of_the_complete_data_set_are_all(real_data, caplog):
    rows = load_dataset("pascal", real_data / "pascal_sentence", complete_classes=True)
    assert not caplog.records
    everything = load_dataset("pascal", real_data / "pascal_sentence")
    assert {split: part["id"][:] for split, part in rows.items()} == {
        split: part["id"][:] for split, part in everything.items()
    }


def test_complete_classes_of_a_part(made, caplog):
    """A cow of 50 pairs is complete; cat and dog are not, and are no class of the result."""
    for number in range(50):
        write_pair(made, f"cow/{number}")
    rows = load_dataset("pascal", made, complete_classes=True)
    assert {split: len(part) for split, part in rows.items()} == {"train": 40, "validation": 5, "test": 5}
    assert rows["test"].features["label"].names == ["cow"]
    assert "50 pairs (train 40, validation 5, test 5); the complete data set has 1,000" in caplog.text
    assert "Left out for want of images: aeroplane 0" in caplog.text
    caplog.clear()
    everything = load_dataset("pascal", made)
    assert set(rows["test"]["id"]) == set(everything["test"]["id"])
    assert len(everything["train"]) == 43
    assert everything["train"].features["label"].names == list(info("pascal").classes)
    assert "Classes that lack images: aeroplane 0" in caplog.text
    assert "cow" not in caplog.text


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
