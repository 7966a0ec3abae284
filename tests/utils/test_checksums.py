"""Digests of checkpoints' files: written, merged, checked, renewed."""

import json
import os
import re
import shlex

import pytest

from cmr_hub.errors import CheckpointError
from cmr_hub.utils import checksums
from cmr_hub.utils.checksums import check, checked, file_checksum, read_checksums, saved, write_checksums


@pytest.fixture
def folder(tmp_path):
    with saved(tmp_path / "checkpoint") as scratch:
        (scratch / "config.json").write_text("{}")
        (scratch / "encoder").mkdir()
        (scratch / "encoder" / "vocab.txt").write_text("a b c")
        (scratch / "README.md").write_text("# card")
        (scratch / "training_run.json").write_text("{}")
    return tmp_path / "checkpoint"


def test_what_loading_reads_is_listed(folder):
    assert json.loads((folder / "checksums.json").read_text()) == {
        "algorithm": "xxh3_128",
        "files": {
            "config.json": {"size": 2, "digest": "dc7048f8f8747f561349cde127705c16"},
            "encoder/vocab.txt": {"size": 5, "digest": file_checksum(folder / "encoder" / "vocab.txt").digest},
        },
    }
    check(folder)


def test_a_large_file_is_digested_whole(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(os.urandom(1000))
    whole = file_checksum(tmp_path / "a")
    monkeypatch.setattr(checksums, "BLOCK_BYTES", 64)
    assert file_checksum(tmp_path / "a") == whole


def test_what_a_save_does_not_touch_stays_listed(folder):
    with saved(folder) as scratch:
        (scratch / "config.json").write_text('{"a": 1}')
    (folder / "encoder" / "vocab.txt").write_text("a b d")
    with pytest.raises(CheckpointError, match=r"encoder/vocab.txt has another digest"):
        check(folder)


def test_what_a_save_removes_is_no_longer_listed(folder):
    with saved(folder, replaces=["encoder/*"]) as scratch:
        (scratch / "config.json").write_text("[]")
    check(folder)
    assert list(read_checksums(folder)) == ["config.json"]


def test_a_folder_inside_with_digests_of_its_own_checks_itself(folder):
    with saved(folder) as scratch, saved(scratch / "retriever") as inner:
        (inner / "config.json").write_text("[]")
    assert list(read_checksums(folder)) == ["config.json", "encoder/vocab.txt"]
    assert list(read_checksums(folder / "retriever")) == ["config.json"]


def test_files_in_place_are_listed_once(folder):
    (folder / "items-0.parquet").write_bytes(b"PAR1")
    with saved(folder, in_place=["items-0.parquet"]) as scratch:
        (scratch / "config.json").write_text("{}")
    (folder / "items-0.parquet").write_bytes(b"PAR2")
    with saved(folder, in_place=["items-0.parquet"]) as scratch:
        (scratch / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"items-0.parquet has another digest"):
        check(folder)


def test_every_flipped_bit_is_found(folder):
    for name in ("config.json", "encoder/vocab.txt"):
        path = folder / name
        content = path.read_bytes()
        for position in range(8 * len(content)):
            flipped = bytearray(content)
            flipped[position // 8] ^= 1 << position % 8
            path.write_bytes(flipped)
            with pytest.raises(CheckpointError, match=f"{name} has another digest.*cmr checksums .* --write"):
                check(folder)
        path.write_bytes(content)
    check(folder)


def test_the_command_fits_a_shell(tmp_path):
    folder = tmp_path / "a folder's"
    with saved(folder) as scratch:
        (scratch / "config.json").write_text("{}")
    (folder / "config.json").write_text("[]")
    with pytest.raises(CheckpointError) as raised:
        check(folder)
    command = re.search("`(.*)`", str(raised.value))[1]
    assert shlex.split(command) == ["cmr", "checksums", str(folder), "--write"]


def test_flipped_bits_of_the_list_itself_are_found(folder):
    path = folder / "checksums.json"
    content = path.read_bytes()
    for position in range(0, 8 * len(content), 7):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        if flipped[position // 8] in b" \n\t\r" and content[position // 8] in b" \n\t\r":
            continue
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"checksums.json"):
            check(folder)


def test_missing_files_and_other_sizes_are_named_before_anything_is_read(folder, monkeypatch):
    (folder / "config.json").unlink()
    (folder / "encoder" / "vocab.txt").write_text("a b")
    monkeypatch.setattr(checksums, "file_checksum", lambda path: pytest.fail("read"))
    with pytest.raises(CheckpointError, match=r"config.json is missing; encoder/vocab.txt has 3 bytes instead of 5"):
        check(folder)


@pytest.mark.parametrize("name", ["../config.json", "/etc/hostname", "encoder/../../secret.json"])
def test_no_name_leads_out(folder, name):
    listed = {"algorithm": "xxh3_128", "files": {name: {"size": 1, "digest": "00"}}}
    (folder / "checksums.json").write_text(json.dumps(listed))
    with pytest.raises(CheckpointError, match="Only plain relative names"):
        check(folder)


def test_a_pipe_is_not_waited_for(folder):
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(CheckpointError, match=r"config.json is a pipe"):
        check(folder)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "{",
        '{"algorithm": "md5", "files": {}}',
        '{"algorithm": "xxh3_128", "files": []}',
        '{"algorithm": "xxh3_128", "files": {"config.json": {"size": "2", "digest": "00"}}}',
        '{"algorithm": "xxh3_128", "files": {"config.json": {"size": 2}}}',
    ],
)
def test_a_damaged_list(folder, content):
    (folder / "checksums.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"checksums.json"):
        check(folder)
    with saved(folder) as scratch:  # another save is not held up by it
        (scratch / "config.json").write_text("{}")
    check(folder)
    assert list(read_checksums(folder)) == ["config.json"]


def test_a_folder_of_an_earlier_version(folder):
    (folder / "checksums.json").unlink()
    (folder / "config.json").write_text("[]")
    with checked(folder):
        pass
    assert write_checksums(folder) == ["config.json", "encoder/vocab.txt"]
    check(folder)


def test_verify_false_reads_what_is_there(folder):
    (folder / "config.json").write_text("[]")
    with checked(folder, verify=False):
        pass


def test_a_file_is_read_again_when_it_was_touched(folder, monkeypatch):
    old = (folder / "config.json").stat().st_mtime - 10
    monkeypatch.setattr(checksums, "COARSEST_CLOCK_NS", -1)
    check(folder)
    read, digest = [], checksums.file_checksum
    monkeypatch.setattr(checksums, "file_checksum", lambda path: read.append(path.name) or digest(path))
    check(folder)
    assert not read
    os.utime(folder / "config.json", (old, old))
    check(folder)
    assert read == ["config.json"]
    (folder / "config.json").write_text("[]")
    os.utime(folder / "config.json", (old, old))
    with pytest.raises(CheckpointError, match=r"config.json has another digest"):
        check(folder)


def test_a_file_that_was_just_written_is_always_read(folder, monkeypatch):
    read, digest = [], checksums.file_checksum
    monkeypatch.setattr(checksums, "file_checksum", lambda path: read.append(path.name) or digest(path))
    check(folder)
    check(folder)
    assert sorted(read) == ["config.json", "config.json", "vocab.txt", "vocab.txt"]
