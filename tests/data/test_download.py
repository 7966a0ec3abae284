from __future__ import annotations

import dataclasses
import errno
import os
import time
import traceback
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from pathlib import Path

import pytest

from archives import tar_of, zip_of
from cmr_hub.data import download
from cmr_hub.data.base import DatasetInfo
from cmr_hub.errors import DownloadError
from file_server import etag

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


@pytest.fixture
def interrupted(fetch, server, tmp_path, monkeypatch):
    """A function that downloads the first 12,345 bytes of /file and is killed then."""

    def run() -> None:
        def die(*step: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(download, "CHUNK", 12345)
        with download.open_client() as client, pytest.raises(KeyboardInterrupt):
            download.download_file(client, f"{server.url}/file", tmp_path / "file", LIMIT, die)
        assert (tmp_path / "file.part").stat().st_size == 12345
        server.requests.clear()

    return run


def test_an_earlier_run_is_taken_up_again(fetch, interrupted, server, tmp_path):
    interrupted()
    assert fetch() == CONTENT
    assert server.requests == [("/file", "bytes=12345-")]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_part_that_was_already_whole(fetch, interrupted, server, tmp_path):
    interrupted()
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert fetch() == CONTENT
    assert server.requests == []


def test_what_a_process_leaves_that_dies_after_its_last_step_goes(fetch, tmp_path):
    fetch()
    (tmp_path / "file.part.json").write_text("{}")
    fetch()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("record", [None, "no JSON", "[]", '{"url": "u"}', '{"url": 1, "other": 2}'])
def test_a_part_of_nobody_knows_what_is_dropped(fetch, interrupted, server, tmp_path, record):
    interrupted()
    (tmp_path / "file.part").write_bytes(b"of another file")
    (tmp_path / "file.part.json").unlink()
    if record is not None:
        (tmp_path / "file.part.json").write_text(record)
    assert fetch() == CONTENT
    assert server.requests == [("/file", None)]


def test_a_part_of_another_mirror_is_dropped(fetch, interrupted, server, tmp_path):
    server.headers = {"ETag": lambda content: '"1"'}
    server.files["/file"] = os.urandom(1 << 20)
    interrupted()
    server.files["/mirror/file"] = CONTENT
    with download.open_client() as client:
        download.download_file(client, f"{server.url}/mirror/file", tmp_path / "file", LIMIT)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_starts_again(fetch, interrupted, server):
    interrupted()
    server.ranges = False
    assert fetch() == CONTENT


def test_a_part_of_a_longer_version_is_dropped(fetch, interrupted, tmp_path):
    interrupted()
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    assert fetch() == CONTENT


LONG_AGO = "Mon, 02 Nov 2026 10:00:00 GMT"
OTHERS = {"same size": os.urandom(1 << 20), "longer": os.urandom(1 << 21), "shorter": os.urandom(1 << 18)}
VALIDATORS = {
    "etag": {"ETag": etag},
    "weak etag": {"ETag": lambda content: 'W/"1"'},
    "date": {"Last-Modified": lambda content: LONG_AGO if content == CONTENT else LONG_AGO.replace("10:", "11:")},
    "weak etag and a date that stays": {
        "ETag": lambda content: f"W/{etag(content)}",
        "Last-Modified": lambda content: LONG_AGO,
    },
    "this very second": {"Last-Modified": lambda content: format_datetime(datetime.now(UTC), usegmt=True)},
    "none": {},
}


@pytest.mark.parametrize("conditions", [True, False])
@pytest.mark.parametrize("validator", VALIDATORS)
@pytest.mark.parametrize("other", OTHERS)
def test_two_versions_are_never_spliced(fetch, server, tmp_path, other, validator, conditions):
    """The source replaces the file while it is sent; its server may not even know `If-Range`."""
    server.headers, server.conditions = VALIDATORS[validator], conditions
    server.cut["/file"] = 2 * download.CHUNK + 1  # whole chunks are kept, and asked for no more
    server.replaced["/file"] = OTHERS[other]
    assert fetch() == OTHERS[other]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("validator", ["etag", "date"])
def test_a_version_that_stays_is_taken_up_by_its_validator(fetch, server, validator):
    server.headers, server.cut["/file"] = VALIDATORS[validator], 300_000
    assert fetch() == CONTENT
    assert server.requests[1][1] is not None


def test_a_digest_that_the_source_announces_is_checked(fetch, server, tmp_path):
    server.headers = {"Repr-Digest": lambda content: f"sha-256=:{b64encode(sha256(CONTENT).digest()).decode()}:"}
    assert fetch() == CONTENT
    (tmp_path / "file").unlink()
    server.files["/file"] = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(DownloadError, match="the source sent other bytes than it announced"):
        fetch()
    assert list(tmp_path.iterdir()) == []


def test_a_password_goes_to_its_host_alone_and_is_shown_nowhere(fetch, server, tmp_path, caplog):
    caplog.set_level("INFO")
    address, other = server.url.replace("//", "//me:secret@"), server.url.replace("127.0.0.1", "localhost")
    no_address = "http://me:secret@host:port/"
    server.redirects["/moved"], server.cut["/file"] = f"{other}/file", 1000
    with download.open_client() as client:
        download.download_file(client, f"{address}/moved", tmp_path / "moved", LIMIT)
        with pytest.raises(DownloadError) as missing:
            download.download_file(client, f"{address}/none", tmp_path / "none", LIMIT)
        with pytest.raises(DownloadError) as invalid:
            download.download_file(client, no_address, tmp_path / "none", LIMIT)
    assert (tmp_path / "moved").read_bytes() == CONTENT
    login = f"Basic {b64encode(b'me:secret').decode()}"
    assert server.authorizations == [login, None, login, None, login]
    assert "/none answered 404" in str(missing.value)
    told = [line for error in (missing.value, invalid.value) for line in traceback.format_exception(error)]
    assert "secret" not in "".join([*told, caplog.text])


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


@pytest.mark.parametrize("status", [202, 204])
def test_a_success_without_the_file_is_none(fetch, server, tmp_path, status):
    server.statuses["/file"] = status
    with pytest.raises(DownloadError, match=f"/file answered {status} .*, without the file"):
        fetch()
    assert list(tmp_path.iterdir()) == []


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


def test_a_full_disk_is_named(cache):
    def fail(folder: Path, progress: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "one"))

    with pytest.raises(DownloadError, match=r"'toy'.*No space left on device.*one.*A later call resumes"):
        download.fetch_once(INFO, fail)


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
