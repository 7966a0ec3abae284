"""Uploads of honest people, and of others: everything hostile is made here, small on disk."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cmr_hub.errors import InputError
from cmr_hub.space.services import unpacking, uploads
from cmr_hub.space.services.uploads import Upload, read_upload
from cmr_hub.utils.images import FORMATS

HTML = '<img src=x onerror="alert(1)">'


def image(colour: str = "red", size: tuple[int, int] = (20, 10), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


TWO = {"a.png": image("red"), "b.png": image("blue")}


@pytest.fixture(autouse=True)
def two_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MIN_IMAGES", len(TWO))


@pytest.fixture
def send(tmp_path: Path) -> Callable[..., Upload]:
    """Uploads files by their names; what is unpacked lies in `tmp_path / "unpacked"`."""
    (tmp_path / "unpacked").mkdir()

    def send(files: dict[str, bytes]) -> Upload:
        sent = []
        for number, (name, content) in enumerate(files.items()):
            path = tmp_path / f"upload-{number}"
            path.write_bytes(content)
            sent.append({"path": str(path), "orig_name": name})
        return read_upload(sent, tmp_path / "unpacked")

    return send


def written(tmp_path: Path) -> list[str]:
    """Everything outside of the uploads themselves."""
    folder = tmp_path / "unpacked"
    unpacked = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    elsewhere = [path.name for path in tmp_path.iterdir() if not path.name.startswith(("upload-", "unpacked"))]
    assert elsewhere == []
    return sorted(unpacked)


def test_images_alone_have_no_texts(send: Callable, tmp_path: Path):
    upload = send({"a.png": image(), "b.jpg": image(kind="JPEG"), "notes.txt": b"mine", ".DS_Store": b"x"})
    assert upload.items["id"][:] == ["a.png", "b.jpg"]
    assert upload.items.column_names == ["id", "image"]
    assert upload.items[1]["image"].size == (20, 10)
    assert (upload.left_out, upload.unlisted, upload.skipped) == ([], 0, 1)
    assert written(tmp_path) == ["images/a.png", "images/b.jpg"]


def test_zip_of_a_folder_with_a_table_keeps_its_order_and_its_texts(send: Callable):
    table = (
        f'file_name,text,label\nin/b.png,"one, two",cold\na.png,{HTML.replace(chr(34), "")},warm\na.png,more,warm\n'
    )
    files = {"set/metadata.csv": table.encode(), "set/in/b.png": TWO["b.png"], "set/a.png": TWO["a.png"]}
    files |= {"set/c.png": image("green"), "__MACOSX/set/._a.png": b"x", "set/run.exe": b"MZ", "inner.zip": b"PK"}
    upload = send({"set.zip": zipped(files)})
    assert upload.items["id"][:] == ["in/b.png", "a.png"]
    assert upload.items["texts"][:] == [["one, two"], [HTML.replace('"', ""), "more"]]
    assert upload.items.features["label"].names == ["cold", "warm"]
    assert (upload.unlisted, upload.skipped) == (1, 2)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        (
            "texts.jsonl",
            '{"image": "photos/a.png", "captions": ["x", "y"]}\n\n{"image": "C:\\\\b.png", "captions": "z"}',
        ),
        ("pairs.csv", 'caption_0,file_name,caption_1\nx,deep/a.png,y\n"z",deep/b.png,\n'),
        ("pairs.tsv", "File Name\tCaptions\r\nC:\\a.png\t['x', 'y']\r\nC:\\B.PNG\tz\r\n\t\r\n"),
    ],
)
def test_files_sent_beside_their_table_are_found_without_their_folders(send: Callable, name: str, table: str):
    upload = send({**TWO, name: table.encode()})
    assert upload.items["id"][:] == ["a.png", "b.png"]
    assert upload.items["texts"][:] == [["x", "y"], ["z"]]


def test_two_folders_with_a_file_of_one_name_need_a_zip(send: Callable):
    with pytest.raises(InputError, match=r"pairs\.csv names 'y/a\.png' and 'x/a\.png', .* Pack the folder as a zip"):
        send({"pairs.csv": b"file_name,text\nx/a.png,1\ny/a.png,2\n", **TWO})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_table_of_a_spreadsheet(send: Callable, encoding: str, is_zip: bool):
    table = 'file_name;text;labels\r\na.png;grün;one;\r\nb.png;x;"two;1.0"\r\n;;\r\n'.encode(encoding)
    files = {"m.csv": table, **TWO}
    upload = send({"set.zip": zipped(files)} if is_zip else files)
    assert upload.items["texts"][:] == [["grün"], ["x"]]
    assert upload.items.features["labels"].feature.names == ["1.0", "one", "two"]
    assert upload.items["labels"][:] == [[1], [2, 0]]


def test_folders_of_classes_are_classes(send: Callable):
    files = {f"set/{name}.png": image("red") for name in ("cat/a", "cat/b", "dog/a")}
    upload = send({"set.zip": zipped({**files, "set/dog/b.png": b"no image", "__MACOSX/set/dog/._a.png": b"x"})})
    assert upload.items["id"][:] == ["set/cat/a.png", "set/cat/b.png", "set/dog/a.png"]
    assert upload.items.features["label"].names == ["cat", "dog"]
    assert upload.items["label"][:] == [0, 0, 1]
    assert "texts" not in upload.items.column_names
    assert len(upload.left_out) == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            b'file_name,text,labels\na.png,A,"x, y"\nb.png,B,y\n',
            r"have a comma\. Several classes are separated by ';'\.$",
        ),
        ("file_name,text\na.png,кот спит\n".encode("cp1251"), r"Save it as UTF-8\.$"),
    ],
)
def test_options_that_the_page_does_not_have_are_not_advised(send: Callable, table: bytes, message: str):
    with pytest.raises(InputError, match=message):
        send({**TWO, "m.csv": table})


@pytest.mark.parametrize("is_zip", [True, False])
def test_workbook_in_place_of_a_table_is_refused(send: Callable, is_zip: bool):
    files = {"Mappe 1.xlsx": b"PK", **TWO}
    with pytest.raises(InputError, match=r"^Mappe 1\.xlsx is not read: save it as CSV"):
        send({"set.zip": zipped(files)} if is_zip else files)


def test_workbook_next_to_its_table_is_skipped(send: Callable):
    assert send({"a.csv": b"file_name,text\na.png,x\nb.png,y\n", "a.xlsx": b"PK", **TWO}).skipped == 1


def test_images_that_cannot_be_used_are_left_out_and_named(send: Callable, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(unpacking, "MAX_IMAGE", 10_000)
    bad = {
        "broken.png": b"this is no image at all",
        "cut.jpg": image(size=(50, 50), kind="JPEG")[:-20],
        "empty.jpg": b"",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "script.png": b"<svg xmlns='http://www.w3.org/2000/svg'></svg>",
        "program.jpg": b"MZ" + bytes(200),
        "large.bmp": image(size=(80, 80), kind="BMP"),
        "line.png": image(size=(1200, 2)),
    }
    upload = send(TWO | bad)
    reasons = dict(line.split(": ", 1) for line in upload.left_out)
    assert upload.items["id"][:] == ["a.png", "b.png"]
    assert reasons.keys() == bad.keys()
    assert "SVG drawing" in reasons["script.png"]
    assert "save it as one of them" in reasons["drawing.svg"]
    assert "truncated or damaged" in reasons["cut.jpg"]
    assert "at most 500 times as long" in reasons["line.png"]  # no encoder takes it
    assert "more than 0 MB" in reasons["large.bmp"]
    assert all(line.endswith(".") and str(tmp_path) not in line for line in upload.left_out)
    assert written(tmp_path) == ["images/a.png", "images/b.png"]


def test_zip_of_a_mac_has_names_in_utf_8_and_doubles_of_its_files(send: Callable):
    files = {"caf#.png": image("red"), "b.png": image("blue"), "__MACOSX/._caf#.png": b"\0\5\x16\7"}
    content = zipped(files | {"m.csv": "file_name,text\nféx.png,x\nb.png,y\n".encode()})
    upload = send({"set.zip": content.replace(b"caf#", "féx".encode())})
    assert (upload.items["id"][:], list(upload.left_out), upload.skipped) == (["féx.png", "b.png"], [], 0)


def test_photos_of_phones_are_read_and_those_of_cameras_named(send: Callable):
    pytest.importorskip("pillow_heif").register_heif_opener()
    upload = send(
        {"a.heic": image(kind="HEIF"), "b.avif": image(kind="AVIF"), "c.jfif": image(kind="JPEG"), "d.NEF": b"x"}
    )
    assert upload.items["id"][:] == ["a.heic", "b.avif", "c.jfif"]
    assert upload.left_out == [f"d.NEF: it is none of {', '.join(FORMATS)}; save it as one of them."]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_hundred_megapixels_are_not_decoded(send: Callable):
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "PNG")
    upload = send({**TWO, "huge.png": file.getvalue()})
    assert upload.left_out == [
        "huge.png: has 10000 x 10000 pixels, more than the 64,000,000 allowed. Scale it down first."
    ]


def test_table_may_name_an_image_that_is_left_out(send: Callable):
    table = b"file_name,text\na.png,x\nbroken.png,y\nb.png,z\n"
    upload = send({"set.zip": zipped({"t.csv": table, "broken.png": b"no", **TWO})})
    assert upload.items["texts"][:] == [["x"], ["z"]]
    assert len(upload.left_out) == 1


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.png",
        "/tmp/evil.png",
        "C:/evil.png",
        "..\\evil.png",
        "in/../../evil.png",
        "tab\tor\x1f.png",
        "x" * 240 + ".png",
        "deep/" * 400 + "evil.png",
        "a.png/evil.png",
    ],
)
def test_names_that_lead_elsewhere_lead_nowhere(send: Callable, tmp_path: Path, name: str):
    upload = send({"set.zip": zipped({**TWO, name: image("green")})})
    assert upload.items["id"][:] == ["a.png", "b.png"]
    assert len(upload.left_out) == 1
    assert written(tmp_path) == ["images/a.png", "images/b.png"]


def test_links_twice_given_names_and_names_with_nul(send: Callable, tmp_path: Path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        for name in ("a.png", "b.png", "./b.png", "c.png?.exe"):
            archive.writestr(name, TWO.get(name.removeprefix("./"), image("green")))
    upload = send({"set.zip": file.getvalue().replace(b"c.png?.exe", b"c.png\0.exe")})
    assert upload.items["id"][:] == ["a.png", "b.png", "c.png"]
    assert upload.left_out == ["./b.png: there is another one of this name."]
    assert upload.skipped == 1
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_table_that_names_files_elsewhere_is_refused(send: Callable):
    with pytest.raises(
        InputError, match=r"^t\.csv, line 3: the path '\.\./\.\./b\.png' is refused, it contains '\.\.'"
    ):
        send({"set.zip": zipped({"t.csv": b"file_name,text\na.png,x\n../../b.png,y\n", **TWO})})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            b"file_name,text\na.png,x\nmissing.png,y\n",
            r"1 of 2 images name a file that does not exist: missing\.png",
        ),
        (b"name,text\na.png,x\n", r"no column file_name or image .* Its columns are: name, text"),
        (b"file_name,label\na.png,x\n", r"no text column"),
        (b"file_name/text\na.png/x\n", r"Its columns are: file_name/text"),
        ("file_name,text\na.png,кот\n".encode("cp1251"), r"not UTF-8: byte 21 is 0xea"),
        (b"file_name,text\na.png," + b"x" * 1_000_000 + b"\n", r"line 2: not valid CSV \(field larger"),
        (b"file_name,text\na.png," + b"x" * 5_001 + b"\nb.png,y\n", r"line 2: a text has 5,001 characters"),
        (b"file_name,text\na.png,x\nb.png\n", r"1 of 2 images have no text: b\.png \(line 3\)"),
        (b"file_name,text\na.png,x, y\n", r"line 2: 3 cells, but the header has 2 columns"),
        (b'file_name,text,labels\na.png,x,"one, two"\n', r"line 2: the labels 'one, two' have a comma"),
        (b'file_name,text\na.png,"x\n', r"not valid CSV"),
        (b"", r"no images"),
        (b"file_name,text\n" + b"a.png,x\n" * 20_001, r"20,002 lines; a table may have 20,000"),
        (b"x" * 4_000_001, r"more than 4 MB"),
    ],
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_bad_table_is_one_readable_sentence(send: Callable, tmp_path: Path, table: bytes, message: str, is_zip: bool):
    files = {"pairs.csv": table, **TWO}
    with pytest.raises(InputError, match=f"^pairs\\.csv.*{message}") as refusal:
        send({"set.zip": zipped(files)} if is_zip else files)
    assert str(tmp_path) not in str(refusal.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "a.png", "text": "x" * 1_000_000}, "1,000,000 characters"),
        ({"image": "a.png", "text": "\ud800"}, "1 of 1 images have no text"),
        ({"image": "a.png", "texts": [[1]]}, "not a text"),
        ({"image": ["a.png"], "text": "x"}, "must hold the path"),
        ({"image": 7, "text": "x"}, "a file that does not exist: 7"),
        ({"image": "a.png", "texts": [str(i) for i in range(20_001)]}, "more than 20,000 texts"),
    ],
)
def test_bad_json_lines_too(send: Callable, row: dict[str, Any], message: str):
    with pytest.raises(InputError, match=rf"^t\.jsonl.*{message}"):
        send({"t.jsonl": json.dumps(row).encode(), **TWO})


def test_two_tables_are_one_too_many(send: Callable):
    with pytest.raises(InputError, match=r"two tables, t\.csv and u\.jsonl"):
        send({"set.zip": zipped({"t.csv": b"x", "u.jsonl": b"x", **TWO})})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no image in nothing"),
        ({"t.csv": b"file_name,text\na.png,x\n"}, r"no image in t\.csv"),
        ({"a.png": TWO["a.png"]}, "1 of 1 images can be used, and a gallery needs 2. Send more"),
        ({"a.png": TWO["a.png"], "b.png": b"no"}, r"1 of 2 images .* b\.png: is not an image"),
        ({"set.zip": zipped({"readme.md": b"x"})}, r"no image in set\.zip"),
    ],
)
def test_too_little_is_refused(send: Callable, files: dict[str, bytes], message: str):
    with pytest.raises(InputError, match=message):
        send(files)


def test_upload_that_is_gone(tmp_path: Path):
    with pytest.raises(InputError, match=r"^a\.png is no longer on the server\. Choose it again\.$"):
        read_upload([{"path": str(tmp_path / "hash" / "a.png"), "orig_name": "a.png"}], tmp_path)


def encrypted() -> bytes:
    content = bytearray(zipped(TWO))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(signature, at + 1)
    return bytes(content)


def too_many_listed() -> bytes:
    """A zip whose list of files has 5 MB: the one end record says so, and there are zeros where it should be."""
    return bytes(5_000_000) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 5_000_000, 0, 0)


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (lambda: b"this is no zip", "no zip file, or a damaged one"),
        (lambda: b"", "no zip file, or a damaged one"),
        (lambda: zipped(TWO)[:-30], "no zip file, or a damaged one"),
        (encrypted, "encrypted. Pack it without a password"),
        (lambda: zipped(TWO, zipfile.ZIP_BZIP2), "unusual way"),
        (lambda: zipped(TWO, zipfile.ZIP_LZMA), "unusual way"),
        (lambda: zipped(TWO | {"bomb.bmp": bytes(19_000_000)}), r"'bomb\.bmp', which would grow from 18,"),
        (lambda: zipped({f"{i}.txt": b"" for i in range(5_001)}), "holds 5,001 files"),
        (too_many_listed, "lists far too many files"),
    ],
    ids=["text", "empty", "cut", "encrypted", "bzip2", "lzma", "bomb", "files", "list"],
)
def test_bad_zip_is_one_readable_sentence(send: Callable, tmp_path: Path, archive: Callable[[], bytes], message: str):
    with pytest.raises(InputError, match=rf"^set\.zip .*{message}"):
        send({"set.zip": archive()})
    assert written(tmp_path) == []


def test_ten_thousand_tiny_images_are_too_many(send: Callable, tmp_path: Path):
    with pytest.raises(InputError, match=r"set\.zip holds 10,000 files"):
        send({"set.zip": zipped({f"{i}.png": b"" for i in range(10_000)}, zipfile.ZIP_STORED)})
    assert written(tmp_path) == []


def test_more_images_than_are_taken(send: Callable, monkeypatch: Any):
    monkeypatch.setattr(unpacking, "MAX_IMAGES", 3)
    with pytest.raises(InputError, match="more than 3 images"):
        send({"set.zip": zipped({**TWO, "c.png": b"", "d.png": b""})})


def test_declared_size_is_added_up_before_anything_is_unpacked(send: Callable, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(unpacking, "MAX_UNPACKED", 5_000)
    with pytest.raises(InputError, match="Unpacked, the files have more than"):
        send({"set.zip": zipped({**TWO, "c.bmp": image(size=(50, 50), kind="BMP")})})
    assert written(tmp_path) == []


def test_size_that_was_not_declared_is_added_up_too(send: Callable, monkeypatch: Any):
    """Sizes are those of what comes out, whatever the zip says of itself; loose files declare none."""
    monkeypatch.setattr(unpacking, "MAX_UNPACKED", 5_000)
    with pytest.raises(InputError, match="Unpacked, the files have more than"):
        send({**TWO, "c.bmp": image(size=(50, 50), kind="BMP")})


def test_zip_that_lies_about_a_size_costs_that_image(send: Callable, tmp_path: Path):
    third = image(size=(50, 50), kind="BMP")
    honest, size = zipped({**TWO, "c.bmp": third}), struct.pack("<L", len(third))
    assert honest.count(size) == 2
    upload = send({"set.zip": honest.replace(size, struct.pack("<L", 60))})
    assert upload.items["id"][:] == ["a.png", "b.png"]
    assert upload.left_out[0].startswith("c.bmp: ")
    assert written(tmp_path) == ["images/a.png", "images/b.png"]


def test_damaged_image_in_a_zip_costs_that_image(send: Callable):
    content = bytearray(zipped({**TWO, "c.bmp": image(size=(50, 50), kind="BMP")}))
    at = content.find(b"c.bmp") + 30
    content[at : at + 8] = b"\xff" * 8
    assert send({"set.zip": bytes(content)}).left_out == ["c.bmp: it is damaged in the zip; pack it again."]


def test_nested_bomb_is_never_opened(send: Callable, tmp_path: Path):
    bomb = zipped({"zeros.png": bytes(10_000_000)})
    for _ in range(3):
        bomb = zipped({"inner.zip": bomb})
    assert send({"set.zip": zipped({**TWO, "inner.zip": bomb})}).skipped == 1
    assert written(tmp_path) == ["images/a.png", "images/b.png"]


def test_progress_runs_to_its_end_and_may_stop_it(tmp_path: Path):
    (tmp_path / "set.zip").write_bytes(zipped(TWO))
    sent, told = [{"path": str(tmp_path / "set.zip"), "orig_name": "set.zip"}], []
    read_upload(sent, tmp_path / "one", lambda share, what: told.append((share, what)))
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert told[-1] == (0.75, "Looking at image 2 of 2")

    def stop(share: float, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_upload(sent, tmp_path / "two", stop)
