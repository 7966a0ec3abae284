from __future__ import annotations

import dataclasses
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archives import tar_of, zip_of
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


@pytest.mark.parametrize(("name", "archive_of"), [("toy.tgz", tar_of), ("toy.zip", zip_of)])
def test_fetches_and_extracts_an_archive_once(server, cache, tmp_path, name, archive_of):
    server.files[f"/some/{name}"] = archive_of({"one.txt": b"1"})
    with download.open_client() as client:
        for _ in range(2):
            download.fetch_archive(client, f"{server.url}/some/{name}", tmp_path / "out", LIMIT)
    assert (tmp_path / "out" / "one.txt").read_bytes() == b"1"
    assert len(server.requests) == 1
    assert not (tmp_path / "out" / name).exists()
