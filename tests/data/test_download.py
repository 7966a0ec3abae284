from __future__ import annotations

import dataclasses
import gzip
import io
import os
import stat
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cmr_hub.data import download
from cmr_hub.data.base import DatasetInfo
from cmr_hub.errors import DownloadError

CONTENT = os.urandom(1 << 20)
LIMIT = 1 << 24


@pytest.fixture
def fetch(server, cache, tmp_path):
    """Download /file and give its bytes; keeps the calls of `on_bytes` in `fetch.steps`."""
    server.files["/file"] = CONTENT

    def run(max_bytes: int = LIMIT) -> bytes:
        with download.open_client() as client:
            download.download_file(
                client, f"{server.url}/file", tmp_path / "file", max_bytes, lambda *step: run.steps.append(step)
            )
        return (tmp_path / "file").read_bytes()

    run.steps = []
    return run


def test_downloads_once_and_reports_bytes(fetch, server):
    assert fetch() == CONTENT
    assert fetch.steps[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in fetch.steps] == sorted(done for done, _ in fetch.steps)
    fetch()
    assert len(server.requests) == 1


def test_a_broken_connection_is_taken_up_again(fetch, server, tmp_path):
    server.cut["/file"] = 300_000
    assert fetch() == CONTENT
    (_, first), (_, second) = server.requests
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 300_000
    assert not (tmp_path / "file.part").exists()


def test_an_earlier_run_is_taken_up_again(fetch, server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:12345])
    assert fetch() == CONTENT
    assert server.requests == [("/file", "bytes=12345-")]


def test_a_part_that_was_already_whole(fetch, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert fetch() == CONTENT


def test_a_server_that_ignores_ranges_starts_again(fetch, server, tmp_path):
    server.ranges = False
    (tmp_path / "file.part").write_bytes(b"of another run")
    assert fetch() == CONTENT


def test_a_part_of_a_longer_version_is_dropped(fetch, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    assert fetch() == CONTENT


def test_a_server_that_announces_no_length(fetch, server):
    server.announce_length = False
    assert fetch() == CONTENT
    assert fetch.steps[-1] == (len(CONTENT), None)


@pytest.mark.parametrize("announce_length", [True, False])
def test_more_than_the_limit_is_refused(fetch, server, tmp_path, announce_length):
    server.announce_length = announce_length
    with pytest.raises(DownloadError, match="larger than the 1,000 bytes"):
        fetch(max_bytes=1000)
    assert not (tmp_path / "file").exists()


def test_a_missing_file_fails_at_once(fetch, server):
    server.files.clear()
    with pytest.raises(DownloadError, match="/file answered 404"):
        fetch()
    assert len(server.requests) == 1


def test_a_server_that_is_not_there(cache, tmp_path):
    with download.open_client() as client, pytest.raises(DownloadError, match="cannot be read"):
        download.download_file(client, "http://127.0.0.1:9/file", tmp_path / "file", LIMIT)


INFO = DatasetInfo("toy", "Toy", "none", "home", "http://official.example", "Fetch it by hand.")


def test_the_folder_appears_only_when_whole(cache):
    def fail(folder: Path, progress: object) -> None:
        (folder / "first").write_text("kept")
        raise DownloadError("the line was cut.")

    def finish(folder: Path, progress: object) -> None:
        assert (folder / "first").read_text() == "kept"

    with pytest.raises(DownloadError, match=r"line was cut.*Fetch it by hand.*data_dir.*toy"):
        download.fetch_once(INFO, fail)
    assert not (cache / "toy").exists()
    assert download.fetch_once(INFO, finish) == cache / "toy"
    assert (cache / "toy" / "first").is_file()
    assert download.fetch_once(INFO, fail) == cache / "toy"


def test_two_that_ask_at_the_same_time_download_once(cache):
    filled = []

    def fill(folder: Path, progress: object) -> None:
        filled.append(folder)
        time.sleep(0.1)

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: download.fetch_once(INFO, fill), range(4)))
    assert set(folders) == {cache / "toy"}
    assert len(filled) == 1


@pytest.mark.parametrize("switch", ["huggingface_hub.constants.HF_HUB_OFFLINE", "datasets.config.HF_DATASETS_OFFLINE"])
def test_offline_mode_fails_at_once(cache, monkeypatch, switch):
    monkeypatch.setattr(switch, True)
    with pytest.raises(DownloadError, match=r"offline mode is on.*Fetch it by hand"):
        download.fetch_once(INFO, lambda *_: pytest.fail("it tried to download"))
    assert not cache.exists()


def test_a_mirror_takes_the_place_of_the_source(monkeypatch):
    assert download.source_of(INFO) == "http://official.example"
    monkeypatch.setenv("CMR_HUB_MIRROR_TOY", "http://mirror.example")
    assert download.source_of(INFO) == "http://mirror.example"
    monkeypatch.setenv("CMR_HUB_MIRROR_TOY_10K", "http://other.example")
    assert download.source_of(dataclasses.replace(INFO, name="toy-10k")) == "http://other.example"


def test_what_has_no_address_is_taken_from_the_cache_or_asked_for(cache, tmp_path):
    assert download.at_hand(INFO, tmp_path) == tmp_path
    with pytest.raises(
        DownloadError, match=r"fetched by hand\. To do it by hand: Fetch it by hand\. .* put the folder"
    ):
        download.at_hand(INFO, None)
    (cache / "toy").mkdir(parents=True)
    assert download.at_hand(INFO, None) == cache / "toy"


def make_zip(path: Path, entries: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_extracts_files_and_folders(tmp_path):
    steps = []
    archive = make_zip(tmp_path / "good.zip", {"a/": b"", "a/one.txt": b"1", "two.txt": b"22"})
    download.extract_zip(archive, tmp_path / "out", LIMIT, progress=lambda *step: steps.append(step))
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
        download.extract_zip(archive, tmp_path / "a" / "out", LIMIT, max_files=10)
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_lies_about_its_size_is_not_read_beyond_it(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(LIMIT))
    lie = buffer.getvalue().replace(LIMIT.to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (tmp_path / "bomb.zip").write_bytes(lie)
    with pytest.raises(DownloadError, match="CRC"):
        download.extract_zip(tmp_path / "bomb.zip", tmp_path / "out", 1000)
    assert (tmp_path / "out" / "bomb").stat().st_size <= 10


@pytest.mark.parametrize("harm", ["flipped", "truncated", "not a zip"])
def test_damaged_archives_are_deleted(tmp_path, harm):
    archive = make_zip(tmp_path / "bad.zip", {"one": os.urandom(5000)})
    content = bytearray(archive.read_bytes())
    content[2000] ^= 0xFF
    archive.write_bytes({"flipped": bytes(content), "truncated": content[:3000], "not a zip": b"<html>"}[harm])
    with pytest.raises(DownloadError, match=r"bad.zip is damaged"):
        download.extract_zip(archive, tmp_path / "out", LIMIT)
    assert not archive.exists()


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
    download.extract_tar(
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
        download.extract_tar(archive, tmp_path / "a" / "out", LIMIT, max_files=10)
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
        download.extract_tar(archive, tmp_path / "out", LIMIT)
    assert list(tmp_path.iterdir()) == []


def test_fetches_and_extracts_a_tar_once(server, cache, tmp_path):
    server.files["/some/toy.tgz"] = make_tar(tmp_path / "toy.tgz", {"one.txt": b"1"}).read_bytes()
    with download.open_client() as client:
        for _ in range(2):
            download.fetch_tar(client, f"{server.url}/some/toy.tgz", tmp_path / "out", LIMIT)
    assert (tmp_path / "out" / "one.txt").read_bytes() == b"1"
    assert len(server.requests) == 1
    assert not (tmp_path / "out" / "toy.tgz").exists()
