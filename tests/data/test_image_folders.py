"""The image files of a folder, whatever system it comes from."""

import os
from pathlib import Path

import pytest

from cmr_hub.data.image_folders import find_images, is_litter
from cmr_hub.errors import InputError

LITTER = (
    *("._a.png", ".DS_Store", ".hidden.png", "__MACOSX/a.png", ".Trash/a.png"),
    *("Thumbs.db", "THUMBS.DB/a.png", "desktop.ini", "$RECYCLE.BIN/a.png", "@eaDir/a.png"),
)


@pytest.mark.parametrize("name", LITTER)
def test_what_systems_leave_is_litter(name):
    assert is_litter(name)
    assert is_litter(f"photos/{name}")


@pytest.mark.parametrize("name", ["a.png", "../a.png", "a.DS_Store/b.png", "_a.png", "thumbs/a.png"])
def test_what_people_have_is_none(name):
    assert not is_litter(name)


def test_images_in_depth_of_every_format_without_litter(tmp_path):
    images = ["a.png", "b.JPG", "deep/c.heic", "deep/deeper/d.jfif", "e.avif", "f.nef", "猫/笑.webp"]
    for name in (*images, *LITTER, "notes.txt", "film.mov"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == images


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def walk(folder: Path, onerror):
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "closed")))
        return iter(())

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(InputError, match=r"closed cannot be read \(Permission denied\)"):
        find_images(tmp_path)
