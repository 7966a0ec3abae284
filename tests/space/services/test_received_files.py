from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cmr_hub.errors import InputError
from cmr_hub.space.services import received_files
from cmr_hub.space.services.received_files import name_of, new_folder, received_file, remove_older


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Space."""
    monkeypatch.setenv(received_files.VARIABLE, str(tmp_path))
    return received_files.receive_privately()


def uploaded(name: str = "a.png") -> Path:
    path = new_folder() / "hash" / name
    path.parent.mkdir()
    path.write_bytes(b"image")
    return path


def test_gradio_puts_files_there(private: Path):
    utils = pytest.importorskip("gradio.utils")
    assert Path(utils.get_upload_folder()) == private
    assert received_files.receive_privately() == private


def test_folders_of_uploads_are_private_and_cannot_be_guessed():
    folders = {new_folder() for _ in range(20)}
    assert len(folders) == 20
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in folders)
    assert all(len(folder.name) >= len(received_files.UPLOAD) + 32 for folder in folders)


def test_file_is_taken_by_the_very_path_that_its_sender_was_told(private: Path):
    path = uploaded()
    assert received_file(str(path)) == path
    others = [
        path,
        bytes(path),
        None,
        3,
        "",
        [str(path)],
        f"{path}/",
        f"{path.parent}/./a.png",
        f"{path}\x00",
        "a" * 9999,
    ]
    others += [
        str(path.parent),
        str(path.parents[1]),
        str(private),
        os.path.relpath(path),
        f"file://{path}",
        "a" * 9999,
    ]
    for other in others:
        with pytest.raises(InputError, match="no longer on the server"):
            received_file(other)


def test_files_next_to_the_uploads_are_none(private: Path):
    path = private / "0" / "image.png"  # as Gradio places what a function returns
    path.parent.mkdir()
    path.write_bytes(b"image")
    assert received_files.is_plain_file(str(path))
    for other in (path, new_folder() / "missing.png", "/etc/passwd"):
        with pytest.raises(InputError):
            received_file(str(other))


def test_links_and_devices_in_an_upload_are_none():
    path = uploaded()
    link, inner, fifo = (path.parent / name for name in ("link.png", "inner", "fifo.png"))
    link.symlink_to("/etc/passwd")
    inner.symlink_to(path.parent)
    os.mkfifo(fifo)
    with path.open("rb") as file:
        for other in (link, fifo, inner / "a.png", f"/proc/self/fd/{file.fileno()}", f"/dev/fd/{file.fileno()}"):
            with pytest.raises(InputError):
                received_file(str(other))


def test_messages_name_a_file_without_its_folders():
    assert name_of("/secret/place/a.png") == "a.png"
    assert name_of("C:\\secret\\a.png") == "a.png"
    assert name_of(["a"]) == name_of("") == "The file"
    assert len(name_of("x" * 10_000)) == received_files.MAX_NAME
    name_of("\ud800").encode()


def test_what_has_not_changed_for_long_is_removed(private: Path):
    old, new, gallery = uploaded(), uploaded(), private / "own-gallery" / "a.zip"
    gallery.parent.mkdir()
    gallery.write_bytes(b"zip")
    past = time.time() - 100
    for path in (old, old.parent, old.parents[1], gallery, gallery.parent):
        os.utime(path, (past, past))
    remove_older(50)
    assert not old.parents[1].exists()
    assert new.exists()
    assert gallery.exists()
