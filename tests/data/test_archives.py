"""Archives that come from outside: what is extracted, and what is refused."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from cmr_hub.data import archives
from cmr_hub.data.archives import extract, unpack
from cmr_hub.errors import DownloadError, InputError

LIMIT = 1 << 24


def make_zip(path: Path, entries: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_extracts_files_and_folders(tmp_path):
    steps = []
    archive = make_zip(tmp_path / "good.zip", {"a/": b"", "a/one.txt": b"1", "two.txt": b"22"})
    extract(archive, tmp_path / "out", LIMIT, progress=lambda *step: steps.append(step))
    assert (tmp_path / "out" / "a" / "one.txt").read_bytes() == b"1"
    assert (tmp_path / "out" / "two.txt").read_bytes() == b"22"
    assert steps[-1] == (1.0, "Extracting good.zip")


def link() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"good.txt": b"1", "../evil.txt": b"2"}, r"'\.\.'"),
        ({"/evil.txt": b"2"}, "absolute"),
        ({"..\\evil.txt": b"2"}, "backslash"),
        ({link(): b"/etc/passwd"}, "a link"),
        ({"bomb": bytes(LIMIT + 1)}, "would unpack to"),
        ({str(number): b"" for number in range(11)}, "11 entries"),
    ],
)
def test_harmful_archives_leave_nothing_behind(tmp_path, entries, reason):
    archive = make_zip(tmp_path / "evil.zip", entries)
    with pytest.raises(DownloadError, match=f"evil.zip is damaged or not safe: .*{reason}"):
        extract(archive, tmp_path / "a" / "out", LIMIT, max_files=10)
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_lies_about_its_size_is_not_read_beyond_it(tmp_path, monkeypatch):
    sizes, write = [], archives._write

    def measured(entry, target):
        try:
            write(entry, target)
        finally:
            sizes.append(target.stat().st_size)

    monkeypatch.setattr(archives, "_write", measured)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(LIMIT))
    lie = buffer.getvalue().replace(LIMIT.to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (tmp_path / "bomb.zip").write_bytes(lie)
    with pytest.raises(DownloadError, match="CRC"):
        extract(tmp_path / "bomb.zip", tmp_path / "out", 1000)
    assert len(sizes) == 1
    assert sizes[0] <= 10


@pytest.mark.parametrize("harm", ["flipped", "truncated", "not a zip"])
def test_damaged_archives_are_deleted(tmp_path, harm):
    archive = make_zip(tmp_path / "bad.zip", {"one": os.urandom(5000)})
    content = bytearray(archive.read_bytes())
    content[2000] ^= 0xFF
    archive.write_bytes({"flipped": bytes(content), "truncated": content[:3000], "not a zip": b"<html>"}[harm])
    with pytest.raises(DownloadError, match=r"bad.zip is damaged"):
        extract(archive, tmp_path / "out", LIMIT)
    assert not archive.exists()


def test_a_damaged_archive_leaves_none_of_its_files_behind(tmp_path):
    entries = {"old/one": b"of the damaged version", "two": os.urandom(5000)}
    content = bytearray(make_zip(tmp_path / "bad.zip", entries).read_bytes())
    content[-2000] ^= 0xFF
    (tmp_path / "bad.zip").write_bytes(content)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other").write_text("of another archive")
    with pytest.raises(DownloadError, match="CRC"):
        extract(tmp_path / "bad.zip", tmp_path / "out", LIMIT)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["other"]


def make_tar(path: Path, entries: dict[str | tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in entries.items():
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def special(kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo("special")
    entry.type, entry.linkname = kind, "/etc/passwd"
    return entry


def folder_entry(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    return entry


def test_extracts_what_is_wanted_of_a_tar(tmp_path):
    steps = []
    entries = {folder_entry("./a"): b"", "./a/one.txt": b"1", "two.txt": b"22", "three.txt": b"333"}
    archive = make_tar(tmp_path / "good.tgz", entries)
    extract(
        archive,
        tmp_path / "out",
        LIMIT,
        wanted=lambda name: name != "three.txt",
        progress=lambda *step: steps.append(step),
    )
    out = tmp_path / "out"
    assert {path.name: path.read_bytes() for path in out.rglob("*.txt")} == {"one.txt": b"1", "two.txt": b"22"}
    assert (out / "a" / "one.txt").is_file()
    assert steps[-1] == (1.0, "Extracting good.tgz")


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"good.txt": b"1", "../evil.txt": b"2"}, r"'\.\.'"),
        ({"/evil.txt": b"2"}, "absolute"),
        ({"..\\evil.txt": b"2"}, "backslash"),
        ({special(tarfile.SYMTYPE): b""}, "a link"),
        ({special(tarfile.LNKTYPE): b""}, "a link"),
        ({special(tarfile.FIFOTYPE): b""}, "a device"),
        ({"bomb": bytes(LIMIT + 1)}, "would unpack to more than"),
        ({str(number): b"" for number in range(11)}, "more than the 10 entries"),
    ],
)
def test_harmful_tars_leave_nothing_behind(tmp_path, entries, reason):
    archive = make_tar(tmp_path / "evil.tgz", entries)
    with pytest.raises(DownloadError, match=f"evil.tgz is damaged or not safe: .*{reason}"):
        extract(archive, tmp_path / "a" / "out", LIMIT, max_files=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("harm", ["flipped", "truncated", "sum", "header", "not a tar"])
def test_damaged_tars_are_deleted_before_anything_is_written(tmp_path, harm):
    archive = make_tar(tmp_path / "bad.tgz", {"one": os.urandom(5000), "two": os.urandom(5000)})
    content = bytearray(archive.read_bytes())
    plain = bytearray(gzip.decompress(content))
    plain[5632:5700] = os.urandom(68)  # in the header of "two"
    content[-6] ^= 0xFF  # in the sum of all
    flipped = (
        bytes(content[:2000]) + bytes([content[2000] ^ 0xFF]) + bytes(content[2001:-6]) + archive.read_bytes()[-6:]
    )
    damaged = {"sum": bytes(content), "flipped": flipped, "truncated": content[:3000], "not a tar": b"<html>"}
    archive.write_bytes({**damaged, "header": gzip.compress(plain)}[harm])
    with pytest.raises(DownloadError, match=r"bad.tgz is damaged"):
        extract(archive, tmp_path / "out", LIMIT)
    assert list(tmp_path.iterdir()) == []


def packed(path: Path, entries: dict[str, bytes]) -> Path:
    """An archive of the kind that its name says."""
    if path.suffix == ".zip":
        return make_zip(path, entries)
    compression = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix, "")
    with tarfile.open(path, f"w:{compression}") as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "unpacked").mkdir()
    return tmp_path / "unpacked"


def inside(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_people_s_archives_of_every_kind(tmp_path, folder, name):
    archive = packed(tmp_path / name, {"photos/a.png": b"1", "photos/deep/猫.png": b"22", "photos/.DS_Store": b"3"})
    assert unpack(archive, folder) == folder / "photos"
    assert inside(folder / "photos") == {"a.png": b"1", "deep/猫.png": b"22"}
    assert archive.is_file()


def test_a_zip_of_a_mac(tmp_path, folder):
    """Names are UTF-8 without a mark that says so, and each file has a double."""
    archive = make_zip(tmp_path / "a.zip", {"__MACOSX/._caf#.png": b"x", "caf#.png": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"caf#", "fé".encode() + b"x"))
    assert inside(unpack(archive, folder)) == {"féx.png": b"1"}


def test_a_zip_of_old_windows(tmp_path, folder):
    assert inside(unpack(make_zip(tmp_path / "a.zip", {"p\\a.png": b"1", "p\\q\\b.png": b"2"}), folder)) == {
        "a.png": b"1",
        "q/b.png": b"2",
    }


def test_links_are_left_out(tmp_path, folder):
    assert inside(unpack(make_zip(tmp_path / "a.zip", {link(): b"/etc/passwd", "a.png": b"1"}), folder)) == {
        "a.png": b"1"
    }


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_paths_out_of_people_s_archives_are_refused(tmp_path, folder, name):
    archive = packed(tmp_path / name, {"../evil.png": b"1"})
    with pytest.raises(InputError, match=r"the path '../evil.png' is refused, it contains '\.\.'"):
        unpack(archive, folder)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_half_an_archive_is_refused_and_stays(tmp_path, folder, name, share):
    archive = packed(tmp_path / name, {"a.png": os.urandom(5000), "b.png": os.urandom(50_000)})
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=rf"{name} cannot be unpacked: .*Pack it again"):
        unpack(archive, folder)
    assert archive.is_file()


def test_a_zip_with_a_password_is_refused(tmp_path, folder):
    archive = make_zip(tmp_path / "a.zip", {"a.png": b"1"})
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.find(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"encrypted, password required.* without a password"):
        unpack(archive, folder)


def test_an_archive_without_room_is_refused(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(InputError, match="more than there is room for"):
        unpack(packed(tmp_path / "a.tar", {"a.png": bytes(11)}), folder)
    assert inside(folder) == {}
