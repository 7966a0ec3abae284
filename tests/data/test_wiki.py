from __future__ import annotations

import html
import io
import logging
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from cmr_hub.data import is_available, load_dataset
from cmr_hub.data.wiki import article_text
from cmr_hub.errors import DatasetError, DownloadError

SIZES = {"tr": 12, "te": 5}
LISTS = {"tr": "trainset_txt_img_cat.list", "te": "testset_txt_img_cat.list"}
CLASSES = ["art", "biology", "geography"]


def article(number: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8" ?>\n<document name="Page"><imageset><image id="x"/></imageset>'
        f"<text>\nArticle {number} on salt &amp; pepper\nand café.\n</text></document>"
    )


@pytest.fixture
def official(tmp_path) -> Path:
    """A small archive in the official layout, unpacked."""
    root = tmp_path / "unpacked" / "wikipedia_dataset"
    (root / "texts").mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {f"I_{part}": rng.random((n, 8)) for part, n in SIZES.items()}
    arrays |= {f"T_{part}": rng.random((n, 4)) for part, n in SIZES.items()}
    savemat(root / "raw_features.mat", arrays)
    (root / "categories.list").write_text("\n".join(CLASSES) + "\n")
    for part, n in SIZES.items():
        rows = [(f"text{part}{i}-3", f"image{part}{i}", i % 3 + 1) for i in range(n)]
        (root / LISTS[part]).write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
        for text_id, image_id, category in rows:
            (root / "texts" / f"{text_id}.xml").write_text(article(text_id), encoding="utf-8")
            image = root / "images" / CLASSES[category - 1] / f"{image_id}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (category, 0, 0)).save(image)
    return root


def zipped(root: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.parent.rglob("*")):
            archive.write(path, path.relative_to(root.parent))
    return buffer.getvalue()


@pytest.fixture
def mirror(server, cache, monkeypatch):
    monkeypatch.setenv("CMR_HUB_MIRROR_WIKI", f"{server.url}/projects/crossmodal/")
    return server


ARCHIVE = "/projects/crossmodal/wikipedia_dataset.zip"


def test_the_released_features(real_data, caplog):
    folder = real_data / "wiki"
    rows = load_dataset("wiki", folder)
    assert {split: len(part) for split, part in rows.items()} == {"train": 2173, "test": 693}
    assert not caplog.records
    assert rows["train"].column_names == ["id", "texts", "image_features", "text_features", "label"]
    assert len(rows["train"].features["label"].names) == 10
    released = loadmat(folder / "raw_features.mat")
    for split, part in (("train", "tr"), ("test", "te")):
        for name, array in (("image_features", f"I_{part}"), ("text_features", f"T_{part}")):
            assert rows[split].features[name].length == released[array].shape[1]
            ours = rows[split].with_format("numpy")[:][name]
            assert ours.dtype == np.float32
            np.testing.assert_array_equal(ours, released[array].astype(np.float32))
    first = rows["test"][0]
    assert first["id"] == "6d6ead4cf7fd78eea820ac94d101f602-5"
    assert rows["test"].features["label"].int2str(first["label"]) == "biology"


def test_the_real_texts(real_data):
    """Each article against the text that a regular expression cuts out, also where a file is not well-formed XML."""
    folder = real_data / "wiki"
    malformed = 0
    for part in load_dataset("wiki", folder).values():
        for text_id, texts in zip(part["id"], part["texts"], strict=True):
            content = (folder / "texts" / f"{text_id}.xml").read_text(encoding="utf-8", errors="replace")
            inner = re.search("<text>(.*)</text>", content, re.DOTALL)[1]
            assert texts == [" ".join(html.unescape(re.sub("<[^<>]*>", "", inner)).split())]
            malformed += not is_well_formed(content)
    assert malformed == 888


def is_well_formed(xml: str) -> bool:
    try:
        ElementTree.fromstring(xml.encode())
    except ElementTree.ParseError:
        return False
    return True


def test_raw_columns_where_the_archive_has_them(official, caplog):
    rows = load_dataset("wiki", official)
    assert rows["train"].column_names == ["id", "image", "texts", "image_features", "text_features", "label"]
    first = rows["test"][1]
    assert first["texts"] == ["Article textte1-3 on salt & pepper and café."]
    assert first["image"].size == (8, 8)
    assert rows["test"].features["label"].int2str(first["label"]) == "biology"
    assert "17 pairs (train 12, test 5); the complete data set has 2,866" in caplog.text


def test_the_folder_above_is_taken_too(official):
    assert is_available("wiki", official.parent)
    assert len(load_dataset("wiki", official.parent)["test"]) == 5


def damage_list(root: Path, line: str) -> None:
    path = root / LISTS["te"]
    path.write_text(path.read_text().replace(path.read_text().splitlines()[1], line))


def damage_features(root: Path, **arrays: np.ndarray) -> None:
    known = {name: array for name, array in loadmat(root / "raw_features.mat").items() if name[0] != "_"}
    savemat(root / "raw_features.mat", known | arrays)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: damage_features(root, I_te=np.ones((4, 8))), "5 rows, but raw_features.mat has 4 image and 5"),
        (lambda root: damage_features(root, I_te=np.full((5, 8), np.nan)), "I_te has values that are not finite"),
        (lambda root: damage_features(root, T_te=np.ones((5, 3))), r"T_te have shapes \(12, 4\) and \(5, 3\)"),
        (lambda root: savemat(root / "raw_features.mat", {"I_tr": np.ones((2, 2))}), "has no array"),
        (lambda root: (root / "raw_features.mat").write_bytes(b"MATLAB 5.0 or not"), "cannot be read as a MATLAB"),
        (lambda root: damage_list(root, "one\ttwo"), "row 2: 'one\\\\ttwo' is not"),
        (lambda root: damage_list(root, "one\ttwo\t4"), "category in 1-3"),
        (lambda root: damage_list(root, "../one\ttwo\t1"), "row 2"),
        (lambda root: (root / LISTS["te"]).write_bytes(b"\xff\xfe\x00"), "not a UTF-8 text file"),
        (lambda root: (root / "images" / "art" / "imagete0.jpg").unlink(), r"1 of the 17 .* images/art/imagete0.jpg"),
        (lambda root: (root / "texts" / "textte0-3.xml").unlink(), "missing: texts/textte0-3.xml"),
        (lambda root: (root / "texts" / "textte0-3.xml").write_text("<text></text>"), "1 files have no <text>"),
    ],
)
def test_damage_is_named(official, damage, message):
    damage(official)
    with pytest.raises(DatasetError, match=message):
        load_dataset("wiki", official)


def test_article_text_is_tolerant_and_expands_nothing():
    assert article_text("<document><text>salt & pepper, 1 < 2</text></document>") == "salt & pepper, 1 < 2"
    assert article_text("no tags") == ""
    laughs = (
        '<!DOCTYPE text [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
        "<document><text>&b; &f; end</text></document>"
    )
    assert article_text(laughs) == "&b; &f; end"


def test_downloads_the_official_archive(mirror, official, cache):
    mirror.files[ARCHIVE] = zipped(official)
    told = []
    rows = load_dataset("wiki", progress=lambda *step: told.append(step))
    assert {split: len(part) for split, part in rows.items()} == {"train": 12, "test": 5}
    assert rows["train"][0]["image"].size == (8, 8)
    assert {message for _, message in told} == {
        "Downloading wikipedia_dataset.zip",
        "Extracting wikipedia_dataset.zip",
    }
    assert all(0 <= fraction <= 1 for fraction, _ in told)
    assert is_available("wiki")
    assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == ["wiki"]
    load_dataset("wiki")
    assert len(mirror.requests) == 1


def test_an_interrupted_download_goes_on(mirror, official, cache):
    content = mirror.files[ARCHIVE] = zipped(official)

    class Interrupt(KeyboardInterrupt):
        pass

    def interrupt(fraction: float, message: str) -> None:
        raise Interrupt

    with pytest.raises(Interrupt):
        load_dataset("wiki", progress=interrupt)
    assert not is_available("wiki")
    # What an interruption in the middle leaves behind.
    (cache / "wiki.partial" / "wikipedia_dataset.zip.part").write_bytes(content[:2000])
    assert len(load_dataset("wiki")["test"]) == 5
    assert mirror.requests[-1] == (ARCHIVE, "bytes=2000-")


def test_a_damaged_archive_is_fetched_anew(mirror, official):
    content = bytearray(zipped(official))
    good, content[len(content) // 3] = bytes(content), content[len(content) // 3] ^ 0xFF
    mirror.files[ARCHIVE] = bytes(content)
    with pytest.raises(DownloadError, match="damaged"):
        load_dataset("wiki")
    assert not is_available("wiki")
    mirror.files[ARCHIVE] = good
    assert len(load_dataset("wiki")["test"]) == 5


def test_an_archive_that_leads_out_writes_nothing(mirror, official, cache):
    buffer = io.BytesIO(zipped(official))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("wikipedia_dataset/../../../evil.txt", "evil")
    mirror.files[ARCHIVE] = buffer.getvalue()
    with pytest.raises(DownloadError, match=r"not safe.*\.\."):
        load_dataset("wiki")
    assert not list(cache.parent.rglob("evil.txt"))
    assert not list((cache / "wiki.partial").iterdir())


def test_nothing_at_the_source_says_what_to_do(mirror, caplog):
    caplog.set_level(logging.ERROR)
    with pytest.raises(DownloadError, match=r"answered 404.*wikipedia_dataset.zip and unpack it.*data_dir"):
        load_dataset("wiki")
