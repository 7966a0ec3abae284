"""Reading files that somebody else wrote: links, pipes, sizes and names are checked before anything is opened."""

import json
import os
import struct
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from cmr_hub.errors import CheckpointError
from cmr_hub.utils import checkpoint_files
from cmr_hub.utils.checkpoint_files import (
    array_of,
    check_folder,
    check_regular,
    inner_path,
    open_tensors,
    read_json,
    read_tensors,
    read_words,
)

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../../x",
        "/etc/passwd",
        "C:\\x",
        "C:x",
        "\\\\host\\share",
        "a\0b",
        "a\nb",
        3,
        None,
        ["a"],
    ],
)
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(CheckpointError, match="Only plain relative names"):
        inner_path(tmp_path, name)


def test_a_plain_name_is_a_path_inside(tmp_path):
    assert inner_path(tmp_path, "a/b.json") == tmp_path / "a" / "b.json"


def test_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "config.json").write_text("{}")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").symlink_to("../secret/config.json")
    (folder / "inner").symlink_to("../secret")
    for read in (read_json, check_regular):
        with pytest.raises(CheckpointError, match=r"config\.json is a link that leads out of its folder"):
            read(folder / "config.json")
    with pytest.raises(CheckpointError, match="a link that leads out"):
        inner_path(folder, "inner")
    with pytest.raises(CheckpointError, match="a link that leads out"):
        check_folder(folder)


def test_links_that_stay_inside_are_followed(tmp_path):
    (tmp_path / "real.json").write_text('{"a": 1}')
    (tmp_path / "config.json").symlink_to("real.json")
    (tmp_path.parent / "latest").symlink_to(tmp_path)
    assert read_json(tmp_path.parent / "latest" / "config.json") == {"a": 1}


def test_links_into_the_blobs_of_a_snapshot_are_followed(tmp_path):
    snapshot = tmp_path / "models--me--x" / "snapshots" / "abc"
    (snapshot / "text_encoder").mkdir(parents=True)
    (tmp_path / "models--me--x" / "blobs").mkdir()
    (tmp_path / "models--me--x" / "blobs" / "1").write_text('{"a": 1}')
    (snapshot / "config.json").symlink_to("../../blobs/1")
    (snapshot / "text_encoder" / "config.json").symlink_to("../../../blobs/1")
    check_folder(snapshot)
    assert read_json(snapshot / "config.json") == read_json(snapshot / "text_encoder" / "config.json") == {"a": 1}


def test_a_circle_of_links_is_refused(tmp_path):
    (tmp_path / "config.json").symlink_to("config.json")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_json(tmp_path / "config.json")


@needs_pipes
@pytest.mark.parametrize(
    "read", [read_json, read_words, open_tensors, read_tensors, lambda path: check_folder(path.parent)]
)
def test_a_pipe_is_never_opened(tmp_path, read):
    os.mkfifo(tmp_path / "text_vocabulary.json")
    with pytest.raises(CheckpointError, match=r"text_vocabulary\.json is a pipe"):
        read(tmp_path / "text_vocabulary.json")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no device files")
def test_a_device_is_never_opened(tmp_path):
    (tmp_path / "config.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="leads out"):
        read_json(tmp_path / "config.json")


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json is a folder, and a file is expected"):
        read_json(tmp_path / "config.json")


def test_a_file_that_is_absent(tmp_path):
    with pytest.raises(CheckpointError, match=r"no complete checkpoint, gallery or index: it has no config\.json"):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize("name", ["adapter_config.json", "shard-00000-model-00001-of-00002.safetensors"])
def test_weights_that_are_not_the_checkpoints_own_are_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(CheckpointError, match="an adapter or to a distributed checkpoint"):
        check_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b'{"a": ' * 100_000, b"\xff\xfe{}", b"1" * 5000])
def test_a_file_that_is_no_json(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json is no valid JSON"):
        read_json(tmp_path / "config.json")


def test_json_that_is_nested_too_deeply_for_who_walks_through_it(tmp_path):
    (tmp_path / "config.json").write_text('{"a": ' + "[" * 200 + "]" * 200 + "}")
    with pytest.raises(CheckpointError, match=r"config\.json is nested more than 64 levels deep"):
        read_json(tmp_path / "config.json")


def test_json_that_is_no_object(tmp_path):
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config\.json must hold a JSON object, and holds a list"):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize(("read", "limit"), [(read_json, "MAX_JSON_BYTES"), (read_words, "MAX_WORDS_BYTES")])
def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch, read, limit):
    monkeypatch.setattr(checkpoint_files, limit, 10)
    (tmp_path / "config.json").write_text(json.dumps(["x" * 20]))
    with pytest.raises(CheckpointError, match=r"config\.json has 24 bytes, and 10 are expected at most"):
        read(tmp_path / "config.json")


@pytest.mark.parametrize("content", ["", "[", "{}", '["a", 3]', '["a", "a"]', "[" * 100_000, '["\\ud800"]'])
def test_a_file_that_is_no_list_of_words(tmp_path, content):
    (tmp_path / "words.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"words\.json"):
        read_words(tmp_path / "words.json")


def test_words_in_their_order(tmp_path):
    (tmp_path / "words.json").write_text('["ü", "a"]', encoding="utf-8")
    assert read_words(tmp_path / "words.json") == ["ü", "a"]


def lie(shape: list[int], end: int, size: int, dtype: str = "F32") -> bytes:
    header = json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        struct.pack("<Q", 1 << 62) + b"{}",
        lie([1 << 40], 1 << 42, 8),
        lie([2], 800, 8),
        lie([3], 8, 8),
        lie([2], 8, 4),
        lie([2], 8, 8, "F99"),
    ],
    ids=["empty", "garbage", "long header", "huge", "beyond the end", "other shape", "truncated", "unknown type"],
)
def test_a_header_that_lies(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.safetensors is not readable as safetensors"):
        read_tensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named(tmp_path, value):
    arrays = {"a": np.zeros((4, 2), np.float16), "b": np.zeros((4, 2), np.float16)}
    arrays["b"][2, 1] = value
    save_file(arrays, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"x\.safetensors holds NaN or infinity in b, row 2 \(1 such rows\)"):
        read_tensors(tmp_path / "x.safetensors")


def test_the_largest_numbers_are_finite(tmp_path):
    arrays = {
        "a": np.array([np.finfo(np.float16).max, np.finfo(np.float16).min]),
        "b": np.zeros((0, 2)),
        "c": np.zeros(()),
    }
    save_file(arrays, tmp_path / "x.safetensors")
    assert read_tensors(tmp_path / "x.safetensors").keys() == {"a", "b", "c"}


def test_an_array_of_another_type_or_shape(tmp_path):
    arrays = {"a": np.zeros((2, 3), np.float32)}
    assert array_of(arrays, "a", "f", 2, tmp_path) is arrays["a"]
    for name, kinds, ndim, message in [
        ("a", "iu", 2, "whole numbers"),
        ("a", "f", 1, "1 dim"),
        ("b", "f", 2, "has no b"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            array_of(arrays, name, kinds, ndim, tmp_path)
